//! Images.

use super::Client;
use crate::call::Call;
use crate::error::{Result, ResultExt};
use crate::image::{self, Image, Progress, PullConfig};

impl Client {
    /// Pulls an image and unpacks it. See [`PullConfig`]. Without a timeout in `call` it may take as
    /// long as data keeps coming; where the server does not answer, cleaning up may take up to 6 s
    /// beyond it. `progress` runs on the calling thread, about every 100 ms and once at the end, with
    /// the state of everything that is fetched.
    pub fn pull_image(
        &self,
        config: &PullConfig,
        progress: &mut dyn FnMut(&[Progress]),
        call: &Call,
    ) -> Result<Image> {
        let inner = &self.inner;
        let mut progress = |items: &[Progress]| {
            image::publish_progress(inner, &config.reference, items);
            progress(items);
        };
        image::pull(inner, config, &mut progress, call).at("pull_image", &config.reference)
    }

    /// Looks an image up.
    pub fn get_image(&self, reference: &str, call: &Call) -> Result<Image> {
        image::get(&self.inner, reference, call).at("get_image", reference)
    }

    /// The images that match any of the filters; all where there is none.
    pub fn list_images(&self, filters: &[&str], call: &Call) -> Result<Vec<Image>> {
        image::list(&self.inner, filters, call).at("list_images", "")
    }

    /// Removes an image's record; what only it referred to goes at the next garbage collection,
    /// which `sync` waits for.
    pub fn remove_image(&self, reference: &str, sync: bool, call: &Call) -> Result<()> {
        image::remove(&self.inner, reference, sync, call).at("remove_image", reference)
    }
}
