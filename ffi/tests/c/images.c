/* Images: pulled with progress, looked up, listed, removed. */
#include "test.h"

struct seen {
    ctrd_client_t *client;
    ctrd_progress_callback_t *callback;
    int calls, destroyed, reentrant;
    size_t items;
    uint32_t last_status;
};

static void on_progress(void *userdata, const ctrd_progress_list_t *progress)
{
    struct seen *seen = userdata;
    size_t i, len = ctrd_progress_list_len(progress);
    ctrd_version_info_t *version = NULL;

    seen->calls++;
    CHECK(len >= 1 && len >= seen->items);
    seen->items = len;
    for (i = 0; i < len; i++) {
        const ctrd_progress_t *item = ctrd_progress_list_get(progress, i);
        ctrd_time_t started, updated;

        CHECK(*ctrd_progress_reference(item) != 0);
        seen->last_status = ctrd_progress_status(item);
        CHECK(seen->last_status >= CTRD_PROGRESS_RESOLVING);
        CHECK(seen->last_status <= CTRD_PROGRESS_EXISTS);
        CHECK(ctrd_progress_total(item) == 0
              || ctrd_progress_offset(item) <= ctrd_progress_total(item));
        CHECK(ctrd_progress_started_at(item, &started) == 1 && started.seconds > 0);
        CHECK(ctrd_progress_updated_at(item, &updated) == 1);
        CHECK(updated.seconds >= started.seconds);
    }
    CHECK(ctrd_progress_list_get(progress, len) == NULL);

    /* Calls may be made from here, but for the one that would wait for this one. */
    OK(ctrd_version(seen->client, NULL, &version, &err));
    ctrd_version_info_free(version);
    if (ctrd_client_close(seen->client, NULL, NULL) == CTRD_E_REENTRANT)
        seen->reentrant++;
}

static void on_destroy(void *userdata)
{
    struct seen *seen = userdata;

    seen->destroyed++;
}

static void pull(ctrd_client_t *client, const char *reference)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    struct seen seen = {NULL, NULL, 0, 0, 0, 0, 0};
    ctrd_image_info_t *image = NULL;
    ctrd_time_t made = {0, 0, 0};
    size_t i;

    seen.client = client;
    config.reference = reference;
    OK(ctrd_progress_callback_new(on_progress, &seen, on_destroy, &config.progress, &err));
    OK(ctrd_pull_image(client, &config, NULL, &image, &err));
    CHECK(seen.calls >= 1 && seen.reentrant == seen.calls && seen.destroyed == 0);
    ctrd_progress_callback_free(config.progress);
    CHECK(seen.destroyed == 1);
    /* The reference, an index, a manifest, a configuration, a layer. */
    CHECK(seen.items >= 4);
    CHECK(seen.last_status == CTRD_PROGRESS_DONE || seen.last_status == CTRD_PROGRESS_EXISTS);

    CHECK(strcmp(ctrd_image_info_name(image), reference) == 0);
    CHECK(strlen(ctrd_image_info_id(image)) == 12);
    CHECK(strncmp(ctrd_image_info_digest(image), "sha256:", 7) == 0);
    CHECK(strncmp(ctrd_image_info_digest(image) + 7, ctrd_image_info_id(image), 12) == 0);
    CHECK(strstr(ctrd_image_info_media_type(image), "index") != NULL);
    CHECK(ctrd_image_info_size(image) > 10000);
    CHECK(ctrd_image_info_created_at(image, &made) == 1 && made.seconds > 0);
    CHECK(ctrd_image_info_updated_at(image, NULL) == 1);
    for (i = 0; i < ctrd_image_info_labels_len(image); i++)
        CHECK(ctrd_image_info_label_key(image, i) && ctrd_image_info_label_value(image, i));
    CHECK(ctrd_image_info_label_value(image, i) == NULL);
    ctrd_image_info_free(image);
}

/* A callback can be freed while a pull has it: it is destroyed when the pull is over. */
static void on_progress_free(void *userdata, const ctrd_progress_list_t *progress)
{
    struct seen *seen = userdata;

    CHECK(ctrd_progress_list_len(progress) >= 1 && seen->destroyed == 0);
    seen->calls++;
    ctrd_progress_callback_free(seen->callback);
    seen->callback = NULL;
    CHECK(seen->destroyed == 0);
}

static void freed_while_pulling(ctrd_client_t *client, const char *reference)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    struct seen seen = {NULL, NULL, 0, 0, 0, 0, 0};

    config.reference = reference;
    OK(ctrd_progress_callback_new(on_progress_free, &seen, on_destroy, &seen.callback, &err));
    config.progress = seen.callback;
    OK(ctrd_pull_image(client, &config, NULL, NULL, &err));
    CHECK(seen.calls >= 1 && seen.callback == NULL && seen.destroyed == 1);
}

static void failing_pulls(ctrd_client_t *client, const char *reference)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    struct seen seen = {NULL, NULL, 0, 0, 0, 0, 0};
    ctrd_image_info_t *image = NULL;
    const char *hosts[2] = {"gitlab.com", "https://gitlab.com"};
    char *absent = malloc(strlen(reference) + 16);

    /* A registration that fails destroys the userdata. */
    seen.client = client;
    REFUSES("callback", ctrd_progress_callback_new(NULL, &seen, on_destroy, &config.progress, &err));
    CHECK(config.progress == NULL && seen.destroyed == 1);
    REFUSES("out", ctrd_progress_callback_new(on_progress, &seen, on_destroy, NULL, &err));
    CHECK(seen.destroyed == 2);
    ctrd_progress_callback_free(NULL);

    /* A pull that fails does not: the same callback is given to all of them. */
    OK(ctrd_progress_callback_new(on_progress, &seen, on_destroy, &config.progress, &err));
    config.reference = "No Reference";
    REFUSES("reference", ctrd_pull_image(client, &config, NULL, &image, &err));
    CHECK(image == NULL && seen.calls == 0);

    sprintf(absent, "%s-absent", reference);
    config.reference = absent;
    FAILS(CTRD_E_NOT_FOUND, ctrd_pull_image(client, &config, NULL, &image, &err));
    CHECK(image == NULL);

    config.reference = reference;
    config.platform = "plan9/pdp11";
    CHECK(ctrd_pull_image(client, &config, NULL, &image, NULL) != CTRD_OK && image == NULL);

    config.platform = NULL;
    config.token_hosts = hosts;
    config.token_hosts_len = 2;
    REFUSES("token_hosts[1]", ctrd_pull_image(client, &config, NULL, &image, &err));
    CHECK(image == NULL);
    config.token_hosts = NULL;
    REFUSES("token_hosts", ctrd_pull_image(client, &config, NULL, &image, &err));
    config.token_hosts_len = 0;
    config.reserved = 1;
    REFUSES("reserved", ctrd_pull_image(client, &config, NULL, &image, &err));
    config.reserved = 0;

    /* Before the call begins. */
    seen.calls = 0;
    call.timeout_ms = -77;
    FAILS(CTRD_E_TIMEOUT, ctrd_pull_image(client, &config, &call, &image, &err));
    REFUSES("client", ctrd_pull_image(NULL, &config, NULL, &image, &err));
    CHECK(seen.calls == 0 && seen.destroyed == 2);
    ctrd_progress_callback_free(config.progress);
    CHECK(seen.destroyed == 3);
    free(absent);
}

static void look_up(ctrd_client_t *client, const char *reference)
{
    ctrd_image_info_t *image = NULL;
    ctrd_image_info_list_t *images = NULL;
    const char *none[1] = {"name==nothing"};
    size_t i, found = 0;

    OK(ctrd_get_image(client, reference, NULL, &image, &err));
    CHECK(strcmp(ctrd_image_info_name(image), reference) == 0);

    OK(ctrd_list_images(client, NULL, 0, NULL, &images, &err));
    for (i = 0; i < ctrd_image_info_list_len(images); i++) {
        const ctrd_image_info_t *listed = ctrd_image_info_list_get(images, i);

        if (strcmp(ctrd_image_info_name(listed), reference) == 0) {
            found++;
            CHECK(ctrd_image_info_size(listed) == ctrd_image_info_size(image));
            CHECK(strcmp(ctrd_image_info_digest(listed), ctrd_image_info_digest(image)) == 0);
        }
    }
    CHECK(found == 1);
    CHECK(ctrd_image_info_list_get(images, i) == NULL);
    ctrd_image_info_list_free(images);
    ctrd_image_info_free(image);

    OK(ctrd_list_images(client, none, 1, NULL, &images, &err));
    CHECK(ctrd_image_info_list_len(images) == 0);
    ctrd_image_info_list_free(images);
}

int main(void)
{
    ctrd_client_t *client = test_client();
    const char *reference = test_environment("CTRD_TEST_IMAGE");
    ctrd_image_info_t *image = NULL;

    pull(client, reference);
    pull(client, reference);
    freed_while_pulling(client, reference);
    failing_pulls(client, reference);
    look_up(client, reference);
    OK(ctrd_remove_image(client, reference, CTRD_REMOVE_IMAGE_SYNC, NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_get_image(client, reference, NULL, &image, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_remove_image(client, reference, 0, NULL, &err));
    ctrd_client_free(client);
    return 0;
}
