/* The library prints nothing, whatever goes wrong. */
#include "test.h"

int main(void)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_client_t *client = NULL, *opened;
    ctrd_version_info_t *version = NULL;
    char *path = test_path("socket");
    char printed[512];
    int outputs[2], kept_out, kept_err, server;
    ssize_t length;

    CHECK(pipe2(outputs, O_CLOEXEC) == 0);
    kept_out = fcntl(1, F_DUPFD_CLOEXEC, 3);
    kept_err = fcntl(2, F_DUPFD_CLOEXEC, 3);
    CHECK(dup2(outputs[1], 1) == 1 && dup2(outputs[1], 2) == 2);

    opened = test_client();
    server = test_mute_server(path);
    config.address = path;
    call.timeout_ms = 200;
    FAILS(CTRD_E_TIMEOUT, ctrd_client_open(&config, &call, &client, &err));
    close(server);
    FAILS(CTRD_E_UNAVAILABLE, ctrd_client_open(&config, &call, &client, &err));
    REFUSES("client", ctrd_version(NULL, NULL, &version, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_probe(opened, "nobody", NULL, NULL, NULL, NULL, &err));
    OK(ctrd_client_close(opened, NULL, &err));
    FAILS(CTRD_E_CLOSED, ctrd_version(opened, NULL, &version, &err));
    ctrd_client_free(opened);

    CHECK(dup2(kept_out, 1) == 1 && dup2(kept_err, 2) == 2);
    close(outputs[1]);
    length = read(outputs[0], printed, sizeof printed - 1);
    CHECK(length >= 0);
    printed[length] = 0;
    if (length > 0) {
        fprintf(stderr, "printed: %s\n", printed);
        return 1;
    }
    unlink(path);
    free(path);
    return 0;
}
