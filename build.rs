//! Generates the messages of `protos/` into `OUT_DIR`. This is done in Rust and needs no `protoc`.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let mut protos = fs::read_dir("protos")?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<io::Result<Vec<_>>>()?;
    protos.retain(|path| path.extension().is_some_and(|e| e == "proto"));
    protos.sort();

    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("wire");
    fs::create_dir_all(&out)?;
    protobuf_codegen::Codegen::new()
        .pure()
        .include("protos")
        .inputs(&protos)
        .out_dir(&out)
        .customize(protobuf_codegen::Customize::default().lite_runtime(true))
        .run()
        .map_err(io::Error::other)?;

    println!("cargo:rerun-if-changed=protos");
    Ok(())
}
