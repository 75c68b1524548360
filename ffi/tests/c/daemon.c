/* A private containerd: started, used, killed, stopped; and none of a child's business. */
#include <signal.h>

#include "test.h"

/* Waits for a containerd that was started for the so-manieth time again, and answers. */
static void comes_back(const ctrd_daemon_t *daemon, ctrd_client_t *client, uint64_t restarts)
{
    ctrd_version_info_t *version = NULL;
    time_t until = time(NULL) + 30;

    while (ctrd_daemon_restarts(daemon) < restarts || ctrd_daemon_pid(daemon) == 0
           || ctrd_version(client, NULL, &version, NULL) != CTRD_OK) {
        CHECK(time(NULL) < until);
        usleep(10 * 1000);
    }
    ctrd_version_info_free(version);
    CHECK(ctrd_daemon_restarts(daemon) == restarts);
}

/* Left running by ctrd_daemon_free(), it is ended by the next start in its directory. */
static void outlives(const char *directory)
{
    ctrd_daemon_config_t config = CTRD_DAEMON_CONFIG_INIT;
    ctrd_daemon_t *daemon = NULL;
    uint32_t first;

    config.directory = directory;
    config.flags = CTRD_DAEMON_OUTLIVE | CTRD_DAEMON_NO_RESTART;
    OK(ctrd_daemon_start(&config, NULL, &daemon, &err));
    first = ctrd_daemon_pid(daemon);
    ctrd_daemon_free(daemon);
    CHECK(kill((pid_t)first, 0) == 0);

    OK(ctrd_daemon_start(&config, NULL, &daemon, &err));
    CHECK(ctrd_daemon_pid(daemon) != first && ctrd_daemon_restarts(daemon) == 0);
    OK(ctrd_daemon_stop(daemon, NULL, &err));
    CHECK(ctrd_daemon_pid(daemon) == 0);
    ctrd_daemon_free(daemon);
    CHECK(access(directory, F_OK) == -1 && errno == ENOENT);
}

int main(void)
{
    ctrd_daemon_config_t config = CTRD_DAEMON_CONFIG_INIT;
    ctrd_client_config_t client_config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_daemon_t *daemon = NULL;
    ctrd_client_t *client = NULL;
    ctrd_version_info_t *version = NULL;
    char *directory = test_path("private");
    uint32_t first;
    pid_t child;

    config.directory = "relative";
    REFUSES("directory", ctrd_daemon_start(&config, NULL, &daemon, &err));
    config.directory = directory;
    config.binary = "";
    REFUSES("binary", ctrd_daemon_start(&config, NULL, &daemon, &err));
    config.binary = "/nonexistent/containerd";
    FAILS(CTRD_E_NOT_FOUND, ctrd_daemon_start(&config, NULL, &daemon, &err));
    CHECK(daemon == NULL);
    config.binary = "/etc/passwd";
    FAILS(CTRD_E_PERMISSION_DENIED, ctrd_daemon_start(&config, NULL, &daemon, &err));

    config.binary = NULL;
    OK(ctrd_daemon_start(&config, NULL, &daemon, &err));
    client_config.address = ctrd_daemon_address(daemon);
    OK(ctrd_client_open(&client_config, NULL, &client, &err));

    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        FAILS(CTRD_E_FORKED, ctrd_daemon_stop(daemon, NULL, &err));
        CHECK(ctrd_daemon_pid(daemon) == 0 && ctrd_daemon_restarts(daemon) == 0);
        ctrd_daemon_free(daemon);
        _exit(0);
    }
    CHECK(test_exit_code(child) == 0);
    OK(ctrd_version(client, NULL, &version, &err));
    ctrd_version_info_free(version);

    first = ctrd_daemon_pid(daemon);
    CHECK(first != 0 && ctrd_daemon_restarts(daemon) == 0);
    CHECK(kill((pid_t)first, SIGKILL) == 0);
    comes_back(daemon, client, 1);
    CHECK(ctrd_daemon_pid(daemon) != first);

    ctrd_client_free(client);
    OK(ctrd_daemon_stop(daemon, NULL, &err));
    OK(ctrd_daemon_stop(daemon, NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_client_open(&client_config, NULL, &client, &err));
    ctrd_daemon_free(daemon);
    outlives(directory);
    free(directory);
    return 0;
}
