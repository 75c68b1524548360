/* The specification that an image makes, to be edited; and an image that is applied to a caller's own. */
#include "test.h"

static ctrd_client_t *client;
static const char *image;

/* Runs a container to its end, and gives what it wrote. */
static const char *run(ctrd_container_config_t *config)
{
    static char text[256];
    ctrd_io_t io = CTRD_IO_INIT;
    size_t length = 0;
    ssize_t count;
    int ends[2];

    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    io.stdout_kind = CTRD_IO_FD_TAKE;
    io.stdout_fd = ends[1];
    config->image = image;
    OK(ctrd_create_container(client, config, &io, NULL, NULL, &err));
    OK(ctrd_probe(client, config->id, NULL, NULL, &soon, NULL, &err));
    OK(ctrd_destroy_container(client, config->id, NULL, NULL, NULL, &err));
    while ((count = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)count;
    CHECK(count == 0);
    text[length] = 0;
    close(ends[0]);
    return text;
}

/* A program can change a part of the specification, and leave the rest to the library. */
static void edited(void)
{
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    char *json = NULL, *value, path[80];

    config.id = test_id("c");
    OK(ctrd_image_spec(client, image, config.id, NULL, &json, &err));
    snprintf(path, sizeof path, "\"/default/%s\"", config.id);
    CHECK(strstr(json, path) != NULL);
    CHECK((value = strstr(json, "IMAGE=ctrd/test")) != NULL);
    memcpy(value, "IMAGE=edited...", strlen("IMAGE=edited..."));
    config.spec_json = json;
    CHECK(strcmp(run(&config), "hello from edited...\n") == 0);
    ctrd_string_free(json);
}

/* The image's command and environment come from the image. */
static void applied(void)
{
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    const char *args[3] = {"/bin/sh", "-c", "echo its image is $IMAGE."};
    char *json = NULL;

    config.id = test_id("c");
    OK(ctrd_default_spec(NULL, config.id, &json, &err));
    config.spec_json = json;
    config.flags = CTRD_CONTAINER_APPLY_IMAGE;
    CHECK(strcmp(run(&config), "hello from ctrd/test\n") == 0);
    config.args = args;
    config.args_len = 3;
    CHECK(strcmp(run(&config), "its image is ctrd/test.\n") == 0);
    config.flags = 0;
    CHECK(strcmp(run(&config), "its image is .\n") == 0);
    ctrd_string_free(json);
}

static void submitted(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_queue_t *queue = NULL;
    ctrd_message_t *done = NULL;
    ctrd_container_info_t *info = NULL;
    char *json = NULL, *awaited = NULL;

    OK(ctrd_image_spec(client, image, "c", NULL, &awaited, &err));
    OK(ctrd_queue_new(NULL, &queue, &err));
    call.queue = queue;
    call.tag = 7;
    REFUSES("json_out", ctrd_image_spec(client, image, "c", &call, &json, &err));
    OK(ctrd_image_spec(client, image, "c", &call, NULL, &err));
    OK(ctrd_queue_next(queue, &soon, &done, &err));
    CHECK(ctrd_message_tag(done) == 7 && ctrd_message_status(done) == CTRD_OK);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_message_take_container_info(done, &info, &err));
    OK(ctrd_message_take_string(done, &json, &err));
    CHECK(strcmp(json, awaited) == 0);
    ctrd_string_free(json);
    ctrd_string_free(awaited);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_message_take_string(done, &json, &err));
    CHECK(json == NULL);
    ctrd_message_free(done);

    OK(ctrd_image_spec(client, "no-such-image", "c", &call, NULL, &err));
    OK(ctrd_queue_next(queue, &soon, &done, &err));
    CHECK(ctrd_message_status(done) == CTRD_E_NOT_FOUND);
    CHECK(strcmp(ctrd_error_operation(ctrd_message_error(done)), "image_spec") == 0);
    ctrd_message_free(done);
    ctrd_queue_free(queue);
}

static void refusals(void)
{
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    char *json = (char *)&err;

    REFUSES("client", ctrd_image_spec(NULL, image, "c", NULL, &json, &err));
    CHECK(json == NULL);
    REFUSES("image", ctrd_image_spec(client, NULL, "c", NULL, &json, &err));
    REFUSES("id", ctrd_image_spec(client, image, NULL, NULL, &json, &err));
    REFUSES("id", ctrd_image_spec(client, image, "a/b", NULL, &json, &err));
    REFUSES("json_out", ctrd_image_spec(client, image, "c", NULL, NULL, &err));
    REFUSES("message", ctrd_message_take_string(NULL, &json, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_image_spec(client, "no-such-image", "c", NULL, &json, &err));
    config.id = "c";
    config.rootfs = "/";
    config.flags = CTRD_CONTAINER_APPLY_IMAGE;
    REFUSES("flags", ctrd_create_container(client, &config, NULL, NULL, NULL, &err));
}

int main(void)
{
    client = test_client();
    image = test_image(client);
    edited();
    applied();
    submitted();
    refusals();
    ctrd_client_free(client);
    return 0;
}
