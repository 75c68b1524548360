//! Images.

use super::Client;
use crate::call::Call;
use crate::error::{Result, ResultExt};
use crate::image::{self, Image, PullConfig, RemoveImageConfig};
use crate::message::Progress;

impl Client {
    /// Pulls an image and unpacks it: see [`PullConfig`]. Blocks until the image is complete. Without a
    /// timeout in `call` there is no limit as long as data arrives; if the server does not answer,
    /// cleaning up may take up to 6 s beyond the timeout. `progress` runs on the calling thread, about
    /// every 100 ms and once at the end, with the state of every item.
    pub fn pull_image(
        &self,
        config: &PullConfig,
        progress: &mut dyn FnMut(&[Progress]),
        call: &Call,
    ) -> Result<Image> {
        let inner = &self.inner;
        let mut progress = |items: &[Progress]| {
            image::publish_progress(inner, config.reference(), items);
            progress(items);
        };
        image::pull(inner, config, &mut progress, call).at("pull_image", config.reference())
    }

    /// Looks an image up: the image of exactly this name or, if there is none, the image with the
    /// completed name. So `busybox` is an image that another client recorded as `busybox`, and otherwise
    /// `docker.io/library/busybox:latest`. Fails with [`crate::ErrorKind::NotFound`] if there is neither, and
    /// with [`crate::ErrorKind::InvalidArgument`] if the name, moreover, cannot be completed.
    pub fn get_image(&self, reference: &str, call: &Call) -> Result<Image> {
        image::get(&self.inner, reference, call).at("get_image", reference)
    }

    /// The images that match any of the filters (containerd's filter syntax), or all images if there is no
    /// filter.
    pub fn list_images(&self, filters: &[&str], call: &Call) -> Result<Vec<Image>> {
        image::list(&self.inner, filters, call).at("list_images", "")
    }

    /// Removes an image's record. Content and snapshots that nothing else refers to are removed by the next
    /// garbage collection; with [`RemoveImageConfig::sync`] the call waits for it.
    ///
    /// The name is looked up as in [`Client::get_image`]. So removing a short name twice may remove two
    /// images: that of exactly this name, then that with the completed name. After an error with an
    /// unknown outcome, look before you repeat.
    pub fn remove_image(
        &self,
        reference: &str,
        config: &RemoveImageConfig,
        call: &Call,
    ) -> Result<()> {
        image::remove(&self.inner, reference, config, call).at("remove_image", reference)
    }

    /// The runtime specification (JSON) that [`Client::create_container`] would make by default for a
    /// container `id` of this image in the call's namespace: [`default_spec`](crate::default_spec) with
    /// the image's configuration applied to it, without a terminal. Edit it and pass it as
    /// [`ContainerConfig::spec_json`](crate::ContainerConfig::spec_json). If the image names no
    /// command, there is no `process.args`: set it, or give the container `args`.
    ///
    /// The image is looked up as in [`Client::get_image`]. Its user is looked up in the image's own files,
    /// unless it is given as two numbers: for that, a read-only snapshot of the image is created with
    /// the client's snapshotter, under a lease, and removed again. An image that is not unpacked is
    /// unpacked first. Blocks for at most the client's call timeout unless `call` says otherwise; if the
    /// server does not answer, cleaning up may take up to 6 s beyond it.
    pub fn image_spec(&self, image: &str, id: &str, call: &Call) -> Result<String> {
        image::image_spec(&self.inner, image, id, call).at("image_spec", image)
    }
}
