/* Input that cannot work: each is a clear error, soon, with nothing left behind and the server well. */
#include "test.h"

static ctrd_client_t *client;
static ctrd_container_config_t config;

static ctrd_status_t create(void)
{
    return ctrd_create_container(client, &config, NULL, NULL, NULL, &err);
}

int main(void)
{
    ctrd_container_config_t fresh = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_version_info_t *version = NULL;
    ctrd_image_info_t *image = NULL;
    ctrd_message_t *message = NULL;
    const char *missing[1] = {"/no/such/command"};
    static char long_text[4098];
    ctrd_pull_config_t pull = CTRD_PULL_CONFIG_INIT;
    ctrd_snapshot_info_t *snapshot = NULL;
    char longest[78], *json = NULL, *spec;
    int64_t began = test_now_ms();

    client = test_client();
    config = fresh;
    config.id = test_id("bad");
    config.image = test_image(client);

    config.id = "with/slash";
    REFUSES("id", create());
    config.id = "";
    REFUSES("id", create());
    memset(long_text, 'x', sizeof long_text - 1);
    memset(longest, 'x', sizeof longest);
    longest[77] = 0;
    config.id = longest;
    REFUSES("id", create());
    REFUSES("id", ctrd_probe(client, "../x", NULL, NULL, NULL, &message, &err));
    REFUSES("id", ctrd_default_spec(NULL, "a b", &json, &err));
    REFUSES("namespace_name", ctrd_default_spec("a/b", "x", &json, &err));
    config.id = test_id("bad");

    config.spec_json = "not JSON";
    REFUSES("spec_json", create());
    config.spec_json = "{\"ociVersion\": \"1.0.2\"}";
    REFUSES("spec_json", create());
    config.spec_json = NULL;
    config.rootfs = "/tmp";
    REFUSES("rootfs", create());
    config.image = NULL;
    config.rootfs = "relative";
    REFUSES("rootfs", create());
    config.rootfs = NULL;
    REFUSES("image", create());
    config.image = "127.0.0.1:1/nothing:here";
    FAILS(CTRD_E_NOT_FOUND, create());
    config.image = "No Reference";
    REFUSES("image", create());
    config.image = "";
    REFUSES("image", create());
    REFUSES("reference", ctrd_get_image(client, "No Reference", NULL, &image, &err));

    config.image = test_environment("CTRD_TEST_IMAGE");
    config.snapshot_key = "";
    REFUSES("snapshot_key", create());
    config.snapshot_key = long_text;
    REFUSES("snapshot_key", create());
    REFUSES("key", ctrd_get_snapshot(client, NULL, long_text, NULL, &snapshot, &err));
    REFUSES("key", ctrd_remove_snapshot(client, NULL, long_text, NULL, &err));
    config.snapshot_key = NULL;
    config.snapshotter = long_text;
    REFUSES("snapshotter", create());
    config.snapshotter = "over\nlayfs";
    REFUSES("snapshotter", create());
    REFUSES("snapshotter", ctrd_get_snapshot(client, long_text, "x", NULL, &snapshot, &err));
    pull.reference = config.image;
    pull.snapshotter = long_text;
    REFUSES("snapshotter", ctrd_pull_image(client, &pull, NULL, &image, &err));

    /* What only the server knows not to be there. */
    config.snapshotter = "no-such-snapshotter";
    REFUSES("snapshotter", create());
    REFUSES("snapshotter",
            ctrd_remove_snapshot(client, "no-such-snapshotter", "x", NULL, &err));
    config.snapshotter = NULL;

    call.namespace_name = "with/slash";
    REFUSES("namespace_name", ctrd_probe(client, "x", NULL, NULL, &call, &message, &err));

    /* A command that is not there: the step is named, and what was done is undone. */
    config.args = missing;
    config.args_len = 1;
    config.spec_json = spec = test_spec(config.id);
    CHECK(create() == CTRD_E_UNKNOWN || ctrd_error_status(err) == CTRD_E_NOT_FOUND);
    CHECK(strcmp(ctrd_error_step(err), "create the task") == 0);
    CHECK(strstr(ctrd_error_message(err), "/no/such/command") != NULL);
    ctrd_error_free(err);
    FAILS(CTRD_E_NOT_FOUND, ctrd_probe(client, config.id, NULL, NULL, NULL, &message, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_destroy_container(client, config.id, NULL, NULL, &message, &err));

    /* So it is with a runtime that is not there. */
    config.runtime = "io.containerd.no-such.v1";
    CHECK(create() == CTRD_E_UNKNOWN || ctrd_error_status(err) == CTRD_E_NOT_FOUND);
    CHECK(strcmp(ctrd_error_step(err), "create the task") == 0);
    CHECK(strstr(ctrd_error_message(err), "io.containerd.no-such.v1") != NULL);
    ctrd_error_free(err);
    ctrd_string_free(spec);
    FAILS(CTRD_E_NOT_FOUND, ctrd_probe(client, config.id, NULL, NULL, NULL, &message, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_get_snapshot(client, NULL, config.id, NULL, &snapshot, &err));

    /* An unreachable registry. */
    pull.reference = "127.0.0.1:1/nothing:here";
    pull.snapshotter = NULL;
    FAILS(CTRD_E_UNAVAILABLE, ctrd_pull_image(client, &pull, NULL, &image, &err));

    OK(ctrd_version(client, NULL, &version, &err));
    ctrd_version_info_free(version);
    CHECK(test_now_ms() - began < 60000);
    ctrd_client_free(client);
    return 0;
}
