/* Processes that are executed in a container. */
#include "test.h"

static ctrd_client_t *client;
static const char *id;

static ctrd_exec_config_t shell(const char *script)
{
    static const char *args[3] = {"/bin/sh", "-c", NULL};
    ctrd_exec_config_t config = CTRD_EXEC_CONFIG_INIT;

    args[2] = script;
    config.args = args;
    config.args_len = 3;
    return config;
}

/* The exit of an exec. */
static void exits(const char *exec_id, uint32_t expected)
{
    ctrd_message_t *message = NULL;
    uint32_t code = 0;

    OK(ctrd_probe(client, id, exec_id, NULL, NULL, &message, &err));
    CHECK(ctrd_message_kind(message) == CTRD_KIND_EXEC_EXIT);
    CHECK(strcmp(ctrd_message_exec_id(message), exec_id) == 0);
    CHECK(strcmp(ctrd_message_container_id(message), id) == 0);
    CHECK(ctrd_message_exit_code(message, &code) == 1 && code == expected);
    ctrd_message_free(message);
}

static void blocking(void)
{
    static const char *const env[1] = {"GREETING=hello"};
    ctrd_exec_config_t config = shell("echo $GREETING; pwd; id -u; exit 7");
    ctrd_exec_info_t *info = NULL;
    ctrd_io_t io = CTRD_IO_INIT;
    int ends[2];
    char text[64] = "";
    size_t length = 0;
    ssize_t got;

    CHECK(pipe(ends) == 0);
    io.stdout_kind = CTRD_IO_FD_TAKE;
    io.stdout_fd = ends[1];
    config.exec_id = "first";
    config.env = env;
    config.env_len = 1;
    config.cwd = "/bin";
    config.user = "12:34";
    OK(ctrd_exec_container(client, id, &config, &io, NULL, &info, &err));
    CHECK(strcmp(ctrd_exec_info_id(info), "first") == 0 && ctrd_exec_info_pid(info) > 1);
    ctrd_exec_info_free(info);
    exits("first", 7);
    while ((got = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    close(ends[0]);
    CHECK(strcmp(text, "hello\n/bin\n12\n") == 0);
}

static void refused(void)
{
    static const char *missing[1] = {"no-such-program"};
    ctrd_exec_config_t config = shell("exit 0");

    FAILS(CTRD_E_NOT_FOUND, ctrd_exec_container(client, "nobody", &config, NULL, NULL, NULL, &err));
    REFUSES("config", ctrd_exec_container(client, id, NULL, NULL, NULL, NULL, &err));
    config.args_len = 0;
    REFUSES("args", ctrd_exec_container(client, id, &config, NULL, NULL, NULL, &err));
    config = shell("exit 0");
    config.flags = CTRD_EXEC_ADOPT;
    REFUSES("adopt", ctrd_exec_container(client, id, &config, NULL, NULL, NULL, &err));
    config.flags = 4;
    REFUSES("flags", ctrd_exec_container(client, id, &config, NULL, NULL, NULL, &err));
    config = shell("exit 0");
    config.args = missing;
    config.args_len = 1;
    CHECK(ctrd_exec_container(client, id, &config, NULL, NULL, NULL, &err) == CTRD_E_UNKNOWN);
    CHECK(ctrd_error_reason(err) == CTRD_REASON_PROGRAM_NOT_FOUND);
    ctrd_error_free(err);
    err = NULL;
}

static void submitted(void)
{
    ctrd_queue_config_t queue_config = CTRD_QUEUE_CONFIG_INIT;
    ctrd_subscription_config_t subscription_config = CTRD_SUBSCRIPTION_CONFIG_INIT;
    ctrd_exec_config_t config = shell("exit 5");
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_subscription_t *subscription = NULL;
    ctrd_exec_info_t *info = NULL;
    ctrd_queue_t *queue = NULL;
    ctrd_message_t *message;
    uint32_t code = 0;

    OK(ctrd_queue_new(&queue_config, &queue, &err));
    subscription_config.kinds = CTRD_KIND_EXEC_EXIT;
    OK(ctrd_queue_subscribe(queue, client, &subscription_config, NULL, &subscription, &err));
    call.queue = queue;
    call.tag = 9;
    OK(ctrd_exec_container(client, id, &config, NULL, &call, NULL, &err));
    /* The completion comes before the exit. */
    message = test_next(queue, CTRD_KIND_DONE);
    CHECK(ctrd_message_status(message) == CTRD_OK && ctrd_message_tag(message) == 9);
    OK(ctrd_message_take_exec_info(message, &info, &err));
    ctrd_message_free(message);
    message = test_next(queue, CTRD_KIND_EXEC_EXIT);
    CHECK(strcmp(ctrd_message_exec_id(message), ctrd_exec_info_id(info)) == 0);
    CHECK(ctrd_message_exit_code(message, &code) == 1 && code == 5);
    ctrd_message_free(message);
    ctrd_exec_info_free(info);
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
}

static void limited(void)
{
    ctrd_exec_config_t config = shell("sleep 1000");

    config.exec_id = "long";
    config.run_ms = 200;
    config.grace_ms = CTRD_GRACE_NONE;
    OK(ctrd_exec_container(client, id, &config, NULL, NULL, NULL, &err));
    exits("long", 137);
}

int main(void)
{
    ctrd_destroy_config_t at_once = CTRD_DESTROY_CONFIG_INIT;

    client = test_client();
    at_once.grace_ms = CTRD_GRACE_NONE;
    id = test_create(client, test_image(client), "sleep 1000", NULL, 0, NULL);
    blocking();
    refused();
    submitted();
    limited();
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
    ctrd_client_free(client);
    return 0;
}
