/*
 * A small front end of libctrd, for the cases of reports.rs:
 *
 *     try ADDRESS NAMESPACE STATE_DIR pull REFERENCE | list | get IMAGE | remove IMAGE
 *     try ADDRESS NAMESPACE STATE_DIR run IMAGE [ARGUMENT...]
 *
 * It prints one line for each image: IMAGE, its name and its digest. "run" passes the output of the
 * container on, and prints EXIT and the code. An error is one line: ERROR, the status and the text.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctrd.h"

static ctrd_client_t *client;
static ctrd_error_t *err;

/* Prints the error of a call. Returns whether there is one. */
static int failed(ctrd_status_t status)
{
    if (status != CTRD_OK)
        printf("ERROR %s %s\n", ctrd_status_name(status), ctrd_error_text(err));
    ctrd_error_free(err);
    err = NULL;
    return status != CTRD_OK;
}

static void show(const ctrd_image_info_t *image)
{
    printf("IMAGE %s %s\n", ctrd_image_info_name(image), ctrd_image_info_digest(image));
}

static int pull(const char *reference)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_image_info_t *image = NULL;

    config.reference = reference;
    call.timeout_ms = 60000;
    if (failed(ctrd_pull_image(client, &config, &call, &image, &err)))
        return 1;
    show(image);
    ctrd_image_info_free(image);
    return 0;
}

static int list(void)
{
    ctrd_image_info_list_t *images = NULL;
    size_t i;

    if (failed(ctrd_list_images(client, NULL, 0, NULL, &images, &err)))
        return 1;
    for (i = 0; i < ctrd_image_info_list_len(images); i++)
        show(ctrd_image_info_list_get(images, i));
    ctrd_image_info_list_free(images);
    return 0;
}

static int get(const char *name)
{
    ctrd_image_info_t *image = NULL;

    if (failed(ctrd_get_image(client, name, NULL, &image, &err)))
        return 1;
    show(image);
    ctrd_image_info_free(image);
    return 0;
}

static int run(const char *image, const char *const *args, size_t len)
{
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_io_t io = CTRD_IO_INIT;
    ctrd_message_t *exited = NULL;
    char id[64];
    uint32_t code = 0;
    int failures;

    snprintf(id, sizeof id, "try-%ld", (long)getpid());
    config.id = id;
    config.image = image;
    config.args = args;
    config.args_len = len;
    io.stdout_kind = io.stderr_kind = CTRD_IO_FD;
    io.stdout_fd = io.stderr_fd = STDOUT_FILENO;
    if (failed(ctrd_create_container(client, &config, &io, NULL, NULL, &err)))
        return 1;
    failures = failed(ctrd_probe(client, id, NULL, NULL, NULL, NULL, &err));
    if (failed(ctrd_destroy_container(client, id, NULL, NULL, &exited, &err)))
        return 1;
    if (ctrd_message_exit_code(exited, &code))
        printf("EXIT %u\n", (unsigned)code);
    else
        printf("EXIT unknown: %s\n", ctrd_error_text(ctrd_message_start_error(exited)));
    ctrd_message_free(exited);
    return failures;
}

int main(int argc, char **argv)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    const char *command = argc > 4 ? argv[4] : "";
    int result = 2;

    if (argc < 5)
        return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    config.address = argv[1];
    config.namespace_name = argv[2];
    config.state_dir = argv[3];
    if (failed(ctrd_client_open(&config, NULL, &client, &err)))
        return 1;
    if (strcmp(command, "list") == 0)
        result = list();
    else if (argc > 5 && strcmp(command, "pull") == 0)
        result = pull(argv[5]);
    else if (argc > 5 && strcmp(command, "get") == 0)
        result = get(argv[5]);
    else if (argc > 5 && strcmp(command, "remove") == 0)
        result = failed(ctrd_remove_image(client, argv[5], CTRD_REMOVE_IMAGE_SYNC, NULL, &err));
    else if (argc > 5 && strcmp(command, "run") == 0)
        result = run(argv[5], (const char *const *)(argv + 6), (size_t)(argc - 6));
    ctrd_client_free(client);
    return result;
}
