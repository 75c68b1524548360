//! `containerd.services.images.v1.Images`.

use std::collections::HashMap;
use std::time::SystemTime;

use protobuf::MessageField;
use protobuf::well_known_types::empty::Empty;

use super::any::{mask, time};
use super::channel::Ctx;
use super::content::Descriptor;
use super::method::{call, methods};
use super::wire::images::{
    CreateImageRequest, CreateImageResponse, DeleteImageRequest, GetImageRequest, GetImageResponse,
    Image as WireImage, ListImagesRequest, ListImagesResponse, UpdateImageRequest,
    UpdateImageResponse,
};
use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};

methods! { "containerd.services.images.v1.Images":
    GET = read "Get" (GetImageRequest) -> GetImageResponse;
    LIST = read "List" (ListImagesRequest) -> ListImagesResponse;
    CREATE = change "Create" (CreateImageRequest) -> CreateImageResponse;
    UPDATE = change "Update" (UpdateImageRequest) -> UpdateImageResponse;
    DELETE = change "Delete" (DeleteImageRequest) -> Empty;
}

/// An image's record: a name and its target.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) target: Descriptor,
    pub(crate) created_at: Option<SystemTime>,
    pub(crate) updated_at: Option<SystemTime>,
}

impl Image {
    /// The record for a request.
    pub(crate) fn new(name: &str, target: Descriptor, labels: HashMap<String, String>) -> Image {
        Image { name: name.into(), labels, target, created_at: None, updated_at: None }
    }

    /// The target is always set: without it containerd 1.7 and 2.1 die of the request.
    fn into_wire(self) -> WireImage {
        WireImage {
            name: self.name,
            labels: self.labels,
            target: MessageField::some(self.target.into_wire()),
            ..Default::default()
        }
    }

    fn from_wire(image: WireImage) -> Result<Image> {
        Ok(Image {
            target: image.target.into_option().map(Descriptor::from_wire).ok_or_else(|| {
                Error::new(ErrorKind::Protocol, "the server sent an image without a target")
            })?,
            created_at: time(image.created_at.as_ref()),
            updated_at: time(image.updated_at.as_ref()),
            name: image.name,
            labels: image.labels,
        })
    }
}

fn only(image: MessageField<WireImage>) -> Result<Image> {
    let image = image
        .into_option()
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the server sent no image"))?;
    Image::from_wire(image)
}

/// The record with this name.
pub(crate) fn get(ctx: &Ctx, name: &str) -> Result<Image> {
    let request = GetImageRequest { name: name.into(), ..Default::default() };
    only(call(ctx, &GET, &request).missing(ErrorReason::NoImage)?.image)
}

/// The records that match any of the filters, or all if there is none.
pub(crate) fn list(ctx: &Ctx, filters: &[&str]) -> Result<Vec<Image>> {
    let request = ListImagesRequest {
        filters: filters.iter().map(|f| (*f).to_owned()).collect(),
        ..Default::default()
    };
    call(ctx, &LIST, &request)?.images.into_iter().map(Image::from_wire).collect()
}

/// Creates a record.
pub(crate) fn create(ctx: &Ctx, image: Image) -> Result<Image> {
    let request =
        CreateImageRequest { image: MessageField::some(image.into_wire()), ..Default::default() };
    only(call(ctx, &CREATE, &request)?.image)
}

/// Changes the parts of a record that `paths` name (`target`, `labels`, `labels.<key>`).
pub(crate) fn update(ctx: &Ctx, image: Image, paths: &[&str]) -> Result<Image> {
    let request = UpdateImageRequest {
        image: MessageField::some(image.into_wire()),
        update_mask: MessageField::some(mask(paths)),
        ..Default::default()
    };
    only(call(ctx, &UPDATE, &request)?.image)
}

/// Deletes a record. With `sync` it waits for the garbage collection that follows.
pub(crate) fn delete(ctx: &Ctx, name: &str, sync: bool) -> Result<()> {
    let request = DeleteImageRequest { name: name.into(), sync, ..Default::default() };
    call(ctx, &DELETE, &request).missing(ErrorReason::NoImage).map(drop)
}
