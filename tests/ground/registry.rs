//! A registry on a free loopback port, and pushing to it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::image::{Blob, Recipe};
use super::wait_until;

/// The only user of a private registry.
pub const USER: &str = "tester";
pub const PASSWORD: &str = "s3cret";
/// The user and the password in the format of `htpasswd -B`.
pub const HTPASSWD: &str = "tester:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

/// A `docker-registry`. The drop ends it.
pub struct Registry {
    host: String,
    private: bool,
    agent: ureq::Agent,
    child: Child,
}

impl Registry {
    /// Starts a registry that keeps everything in `dir`, which must not exist. With `htpasswd`, it
    /// accepts only the users in this text.
    pub fn start(dir: &Path, htpasswd: Option<&str>) -> Registry {
        fs::create_dir(dir).unwrap();
        let auth = htpasswd.map_or(String::new(), |users| {
            let file = dir.join("htpasswd");
            fs::write(&file, users).unwrap();
            format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", file.display())
        });
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\n\
             log: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: tests}}\n\
             {auth}",
            dir.display()
        );
        fs::write(&config, text).unwrap();
        let log = dir.join("log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .expect("docker-registry is not installed: make deps");
        let mut registry =
            Registry { host: String::new(), private: htpasswd.is_some(), agent: agent(), child };
        let mut port = None;
        wait_until("the registry does not start", || {
            let text = fs::read_to_string(&log).unwrap();
            // The kernel chose the port, and only the log has it.
            port = text
                .split_once("listening on 127.0.0.1:")
                .and_then(|(_, rest)| rest.split_once('"'))
                .map(|(port, _)| port.to_owned());
            let ended = registry.child.try_wait().unwrap();
            assert!(ended.is_none(), "the registry ended: {ended:?}: {text}");
            port.is_some()
        });
        registry.host = format!("127.0.0.1:{}", port.unwrap());
        registry
    }

    /// `127.0.0.1:<port>`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Makes the image and pushes it. Returns its reference.
    pub fn push(&self, name: &str, tag: &str, recipe: &Recipe) -> String {
        let image = recipe.make();
        for blob in &image.blobs {
            self.push_blob(name, blob);
        }
        for manifest in &image.manifests {
            self.push_manifest(name, &manifest.digest(), manifest);
        }
        self.push_manifest(name, tag, &image.top);
        format!("{}/{name}:{tag}", self.host)
    }

    /// Pushes a blob unless the registry has it.
    pub fn push_blob(&self, name: &str, blob: &Blob) {
        let repository = format!("http://{}/v2/{name}", self.host);
        let digest = blob.digest();
        let there = self.authorized(self.agent.head(format!("{repository}/blobs/{digest}")));
        if there.call().unwrap().status() == 200 {
            return;
        }
        let begun = self.authorized(self.agent.post(format!("{repository}/blobs/uploads/")));
        let begun = begun.send_empty().unwrap();
        assert_eq!(begun.status(), 202);
        let location = begun.headers()["location"].to_str().unwrap();
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = self.authorized(self.agent.put(format!("{location}{separator}digest={digest}")));
        let put = put.content_type("application/octet-stream").send(&blob.data).unwrap();
        assert_eq!(put.status(), 201);
    }

    /// Pushes a manifest or an index under a tag or digest.
    pub fn push_manifest(&self, name: &str, tag: &str, manifest: &Blob) {
        let url = format!("http://{}/v2/{name}/manifests/{tag}", self.host);
        let put = self.authorized(self.agent.put(url)).content_type(&manifest.media_type);
        let mut answer = put.send(&manifest.data).unwrap();
        let status = answer.status();
        assert_eq!(status, 201, "{}", answer.body_mut().read_to_string().unwrap());
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        if !self.private {
            return request;
        }
        let credentials = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        request.header("authorization", format!("Basic {credentials}"))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        // A proxy that the environment names cannot reach this machine's loopback.
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}
