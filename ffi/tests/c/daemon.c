/* A private containerd: started, used, stopped; and none of a child's business. */
#include "test.h"

int main(void)
{
    ctrd_daemon_config_t config = CTRD_DAEMON_CONFIG_INIT;
    ctrd_client_config_t client_config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_daemon_t *daemon = NULL;
    ctrd_client_t *client = NULL;
    ctrd_version_t *version = NULL;
    char *directory = test_path("private");
    pid_t child;

    config.directory = "relative";
    REFUSES("directory", ctrd_daemon_start(&config, NULL, &daemon, &err));
    config.directory = directory;
    config.binary = "";
    REFUSES("binary", ctrd_daemon_start(&config, NULL, &daemon, &err));
    config.binary = "/nonexistent/containerd";
    FAILS(CTRD_E_NOT_FOUND, ctrd_daemon_start(&config, NULL, &daemon, &err));
    CHECK(daemon == NULL);

    config.binary = NULL;
    OK(ctrd_daemon_start(&config, NULL, &daemon, &err));
    client_config.address = ctrd_daemon_address(daemon);
    OK(ctrd_client_open(&client_config, NULL, &client, &err));

    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        FAILS(CTRD_E_FORKED, ctrd_daemon_stop(daemon, NULL, &err));
        ctrd_daemon_free(daemon);
        _exit(0);
    }
    CHECK(test_exit_code(child) == 0);
    OK(ctrd_version(client, NULL, &version, &err));
    ctrd_version_free(version);

    ctrd_client_free(client);
    OK(ctrd_daemon_stop(daemon, NULL, &err));
    OK(ctrd_daemon_stop(daemon, NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_client_open(&client_config, NULL, &client, &err));
    ctrd_daemon_free(daemon);
    free(directory);
    return 0;
}
