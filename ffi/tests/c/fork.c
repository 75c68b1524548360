/* A child cannot use the handles of its parent. An attempt harms neither process. */
#include "test.h"

#include <pthread.h>

static void on_exit_ignore(void *userdata, const ctrd_message_t *message)
{
    (void)userdata;
    (void)message;
}

static void on_destroy(void *userdata)
{
    ++*(uint64_t *)userdata;
}

static int in_child(ctrd_client_t *client, ctrd_cancel_t *cancel, ctrd_queue_t *queue, uint64_t hook)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_client_t *opened = NULL;
    ctrd_version_info_t *version = NULL;
    ctrd_daemon_config_t daemon_config = CTRD_DAEMON_CONFIG_INIT;
    ctrd_daemon_t *daemon = NULL;
    ctrd_message_t *message = NULL;
    ctrd_counters_t counters = CTRD_COUNTERS_INIT;
    ctrd_hook_config_t hook_config = CTRD_HOOK_CONFIG_INIT;
    uint64_t added = 0;
    int64_t began = test_now_ms();

    FAILS(CTRD_E_FORKED, ctrd_version(client, NULL, &version, &err));
    FAILS(CTRD_E_FORKED, ctrd_probe(client, "x", NULL, NULL, NULL, NULL, &err));
    FAILS(CTRD_E_FORKED, ctrd_client_close(client, NULL, &err));
    FAILS(CTRD_E_FORKED, ctrd_client_counters(client, &counters, &err));
    FAILS(CTRD_E_FORKED, ctrd_queue_next(queue, NULL, &message, &err));
    FAILS(CTRD_E_FORKED, ctrd_remove_hook(client, hook, NULL, &err));
    FAILS(CTRD_E_FORKED, ctrd_dispatch(client, 0, NULL, &err));
    FAILS(CTRD_E_FORKED, ctrd_recover_all(client, NULL, NULL, NULL, NULL, NULL, &err));
    hook_config.kinds = CTRD_KIND_EXIT;
    FAILS(CTRD_E_FORKED, ctrd_add_hook(client, &hook_config, on_exit_ignore, &added, on_destroy, NULL,
                                       NULL, &err));
    CHECK(added == 1);
    CHECK(ctrd_queue_fd(queue) == -1 && ctrd_dispatch_fd(client) == -1);
    ctrd_queue_free(queue);
    config.address = test_environment("CTRD_TEST_ADDRESS");
    FAILS(CTRD_E_FORKED, ctrd_client_open(&config, NULL, &opened, &err));
    call.cancel = cancel;
    FAILS(CTRD_E_FORKED, ctrd_client_open(&config, &call, &opened, &err));
    daemon_config.directory = "/nonexistent/directory";
    FAILS(CTRD_E_FORKED, ctrd_daemon_start(&daemon_config, NULL, &daemon, &err));
    ctrd_cancel_fire(cancel);
    ctrd_cancel_free(cancel);
    ctrd_client_free(client);
    CHECK(test_now_ms() - began < 5000);
    /* What is left to the parent would count as lost at an exit. */
    execl("/bin/true", "true", (char *)NULL);
    return 1;
}

static void *fire_soon(void *cancel)
{
    test_sleep_ms(50);
    ctrd_cancel_fire(cancel);
    return NULL;
}

/* Waits for a message of a queue of its own until a handle is fired. */
static void wait_until_fired(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_queue_t *queue = test_queue();
    ctrd_message_t *message = NULL;
    int64_t began = test_now_ms();
    ctrd_cancel_t *cancel = NULL;
    pthread_t thread;

    OK(ctrd_cancel_new(&cancel, &err));
    call.cancel = cancel;
    call.timeout_ms = 20000;
    CHECK(pthread_create(&thread, NULL, fire_soon, cancel) == 0);
    FAILS(CTRD_E_CANCELLED, ctrd_queue_next(queue, &call, &message, &err));
    CHECK(test_now_ms() - began < 10000);
    CHECK(pthread_join(thread, NULL) == 0);
    ctrd_cancel_free(cancel);
    ctrd_queue_free(queue);
}

/* Ends a child. At an exit valgrind would take the memory of the parent's threads for lost. */
static void end_child(int code)
{
    if (code == 0)
        execl("/bin/true", "true", (char *)NULL);
    _exit(code == 0 ? 1 : code);
}

int main(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_client_t *client;
    ctrd_cancel_t *cancel = NULL;
    ctrd_version_info_t *version = NULL;
    ctrd_subscription_t *subscription;
    ctrd_queue_t *queue;
    uint64_t hook, destroyed = 0;
    char *json = NULL;
    pid_t child;

    /* The thread that ends the waits of the parent is not in the child. */
    wait_until_fired();
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        wait_until_fired();
        end_child(0);
    }
    CHECK(test_exit_code(child) == 0);

    /* Before a client is opened, the child may do so. */
    ctrd_string_free(json);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        ctrd_client_free(test_client());
        end_child(0);
    }
    CHECK(test_exit_code(child) == 0);

    client = test_client();
    OK(ctrd_cancel_new(&cancel, &err));
    queue = test_queue();
    subscription = test_subscribe(queue, client, CTRD_KIND_EXIT | CTRD_KIND_EVENT, NULL, 0);
    hook = test_add_hook(client, CTRD_KIND_EXIT, NULL, CTRD_HOOK_DISPATCH, on_exit_ignore,
                         &destroyed, on_destroy);
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        end_child(in_child(client, cancel, queue, hook));
    CHECK(test_exit_code(child) == 0);

    /* The parent's client and handle are as they were. */
    call.cancel = cancel;
    OK(ctrd_version(client, &call, &version, &err));
    ctrd_version_info_free(version);
    ctrd_cancel_free(cancel);
    CHECK(destroyed == 0);
    ctrd_client_free(client);
    CHECK(destroyed == 1);
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
    return 0;
}
