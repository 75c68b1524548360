//! The specification that a create makes for an image by default.

use std::cell::RefCell;

use super::records::check_name;
use super::resolve::{ResolvedImage, resolve};
use super::unpack::unpack;
use crate::call::Call;
use crate::error::{ErrorReason, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::lease::Lease;
use crate::rpc::Ctx;
use crate::snapshot::View;
use crate::spec::{self, SpecOptions};
use crate::submit;

pub(crate) fn image_spec(client: &Inner, name: &str, id: &str, call: &Call) -> Result<String> {
    check_name("image", name)?;
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let image = resolve(client, ctx, name).step("look the image up")?;
    // Dropped in this order: the lease holds the view.
    let held = RefCell::new(None::<(View, Option<Lease<'_>>)>);
    let rootfs = || {
        let (ctx, lease) = Lease::hold(client, ctx)?;
        let view = view(client, &ctx, &image).step("view the image")?;
        let mounts = view.mounts().to_vec();
        held.replace(Some((view, lease)));
        Ok(mounts)
    };
    let spec = spec::without_command_check(SpecOptions {
        namespace: &ctx.namespace,
        id,
        spec: None,
        image_config: Some(&image.content.config),
        apply_image: true,
        args: &[],
        terminal: false,
        directory: None,
        mounts: &rootfs,
    })
    .step("make the specification")?;
    Ok(spec.to_string())
}

/// Creates a view of an image, which is unpacked first if it is not.
fn view(client: &Inner, ctx: &Ctx, image: &ResolvedImage) -> Result<View> {
    let snapshotter = &client.config.snapshotter;
    let attempt = || View::create(ctx, snapshotter, &image.content.chain_id);
    match attempt() {
        Err(e) if e.reason() == Some(ErrorReason::NoSnapshot) => {
            submit::begin_long()?;
            unpack(client, ctx, image, snapshotter).step("unpack the image")?;
            attempt()
        }
        other => other,
    }
}
