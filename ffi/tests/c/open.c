/* Opening a client fails clearly, and soon, where there is no containerd. */
#include "test.h"

static ctrd_client_t *client;

static ctrd_status_t open_at(const char *address, int64_t timeout_ms)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;

    config.address = address;
    call.timeout_ms = timeout_ms;
    return ctrd_client_open(&config, &call, &client, &err);
}

int main(void)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    char *path = test_path("socket"), *file = test_path("file");
    char uri[512], longest[512];
    int64_t began = test_now_ms();
    int server = test_mute_server(path);

    /* Somebody listens and does not answer. */
    FAILS(CTRD_E_TIMEOUT, open_at(path, 300));
    CHECK(test_now_ms() - began >= 300 && test_now_ms() - began < 5000);
    snprintf(uri, sizeof uri, "unix://%s", path);
    FAILS(CTRD_E_TIMEOUT, open_at(uri, 100));

    /* Nobody listens any more. */
    close(server);
    began = test_now_ms();
    CHECK(open_at(path, 0) == CTRD_E_UNAVAILABLE);
    CHECK(ctrd_error_errno(err) == ECONNREFUSED);
    CHECK(ctrd_error_flags(err) == CTRD_ERROR_RETRYABLE);
    CHECK(strstr(ctrd_error_message(err), "nobody listens") != NULL);
    ctrd_error_free(err);
    unlink(path);
    FAILS(CTRD_E_NOT_FOUND, open_at(path, 0));

    /* What is there is no socket. */
    REFUSES("address", open_at("/tmp", 0));
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    REFUSES("address", open_at(file, 0));
    unlink(file);

    /* What is given is no address. */
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[sizeof longest - 1] = 0;
    REFUSES("address", open_at(longest, 0));
    REFUSES("address", open_at("relative/path", 0));
    REFUSES("address", open_at("tcp://127.0.0.1:1", 0));
    REFUSES("address", open_at("", 0));
    REFUSES("address", open_at("/tmp/a,b", 0));
    CHECK(test_now_ms() - began < 5000);

    /* The rest of the configuration. */
    config.address = test_environment("CTRD_TEST_ADDRESS");
    config.namespace_name = "with/slash";
    REFUSES("namespace_name", ctrd_client_open(&config, NULL, &client, &err));
    config.namespace_name = NULL;
    config.owner = "";
    REFUSES("owner", ctrd_client_open(&config, NULL, &client, &err));
    config.owner = NULL;
    config.snapshotter = "";
    REFUSES("snapshotter", ctrd_client_open(&config, NULL, &client, &err));
    config.snapshotter = "over\001layfs";
    REFUSES("snapshotter", ctrd_client_open(&config, NULL, &client, &err));
    config.snapshotter = longest;
    REFUSES("snapshotter", ctrd_client_open(&config, NULL, &client, &err));
    config.snapshotter = NULL;
    config.state_dir = "relative";
    REFUSES("state_dir", ctrd_client_open(&config, NULL, &client, &err));
    config.state_dir = NULL;
    config.flags = CTRD_CLIENT_KEEP_STOPPED_TASKS;
    OK(ctrd_client_open(&config, NULL, &client, &err));
    ctrd_client_free(client);
    free(path);
    free(file);
    return 0;
}
