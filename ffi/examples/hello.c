/* Runs a command in a new container, and prints its exit code. The image must be there. */
#include <stdio.h>

#include <ctrd.h>

int main(int argc, char **argv)
{
    const char *const command[] = {"/bin/sh", "-c", "echo hello; exit 3"};
    ctrd_client_config_t client_config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_io_t io = CTRD_IO_INIT;
    ctrd_client_t *client = NULL;
    ctrd_message_t *message = NULL;
    ctrd_error_t *err = NULL;
    uint32_t code;
    int result = 1;

    if (argc != 3) {
        fprintf(stderr, "usage: %s SOCKET IMAGE\n", argv[0]);
        return 2;
    }
    client_config.address = argv[1];
    io.stdout_kind = CTRD_IO_FD;
    io.stdout_fd = 1;
    config.id = "hello";
    config.image = argv[2];
    config.args = command;
    config.args_len = 3;

    if (ctrd_client_open(&client_config, NULL, &client, &err)
        || ctrd_create_container(client, &config, &io, NULL, NULL, &err)
        || ctrd_probe(client, config.id, NULL, NULL, NULL, NULL, &err)
        || ctrd_destroy_container(client, config.id, NULL, NULL, &message, &err))
        fprintf(stderr, "%s\n", ctrd_error_text(err));
    else if (ctrd_message_exit_code(message, &code))
        result = printf("exit code %u\n", (unsigned)code) < 0;

    ctrd_message_free(message);
    ctrd_client_free(client);
    ctrd_error_free(err);
    return result;
}
