/* A daemon that forks twice and opens its client then has everything: calls, hooks, streams. What starts no
 * thread may be called before it forks. */
#include "test.h"

#include <poll.h>

static int told, records, destroyed;

/* Made before the process forks. */
static ctrd_cancel_t *fired, *unfired;
static ctrd_queue_t *queue;

static void count(void *userdata, const ctrd_message_t *message)
{
    uint32_t code = 0;

    (void)userdata;
    CHECK(ctrd_message_exit_code(message, &code) == 1 && code == 7);
    told++;
}

static void on_log(void *userdata, uint32_t level, const char *target, const char *message)
{
    CHECK(userdata == &records && level >= CTRD_LOG_ERROR && *target != 0 && message != NULL);
    __atomic_add_fetch(&records, 1, __ATOMIC_SEQ_CST);
}

static void on_destroy(void *userdata)
{
    CHECK(userdata == &records);
    destroyed++;
}

static void before_forking(void)
{
    ctrd_client_config_t config;
    ctrd_call_t call;
    ctrd_message_t *message = NULL;

    CHECK(*ctrd_library_version() != 0 && ctrd_library_version_number() == CTRD_VERSION_NUMBER);
    CHECK(ctrd_has_feature("no such feature") == 0);
    CHECK(ctrd_forever() == CTRD_FOREVER && ctrd_poll() == CTRD_POLL);
    CHECK(*ctrd_status_name(CTRD_E_FORKED) != 0);
    ctrd_client_config_init(&config, sizeof config);
    ctrd_call_init(&call, sizeof call);
    OK(ctrd_set_log_hook(CTRD_LOG_DEBUG, on_log, &records, on_destroy, &err));
    OK(ctrd_cancel_new(&fired, &err));
    OK(ctrd_cancel_new(&unfired, &err));
    ctrd_cancel_fire(fired);
    OK(ctrd_queue_new(NULL, &queue, &err));
    /* What polls starts no thread either. */
    call.timeout_ms = CTRD_POLL;
    FAILS(CTRD_E_WOULD_BLOCK, ctrd_queue_next(queue, &call, &message, &err));
    CHECK(destroyed == 0 && test_threads("") == 1);
}

/* The log hook works in the child. Handles and queues do not, and are refused there. */
static void after_forking(ctrd_client_t *client)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_cancel_t *own = NULL;
    ctrd_message_t *message = NULL;
    int before = records;

    FAILS(CTRD_E_NOT_FOUND, ctrd_probe(client, "nobody", NULL, NULL, NULL, NULL, &err));
    CHECK(records > before);
    FAILS(CTRD_E_FORKED, ctrd_queue_next(queue, &soon, &message, &err));
    ctrd_queue_free(queue);
    ctrd_cancel_fire(unfired);
    call.cancel = unfired;
    FAILS(CTRD_E_FORKED, ctrd_version(client, &call, NULL, &err));
    ctrd_cancel_free(unfired);
    ctrd_cancel_free(fired);
    OK(ctrd_cancel_new(&own, &err));
    call.cancel = own;
    call.timeout_ms = 50;
    queue = test_queue();
    FAILS(CTRD_E_TIMEOUT, ctrd_queue_next(queue, &call, &message, &err));
    ctrd_cancel_fire(own);
    FAILS(CTRD_E_CANCELLED, ctrd_queue_next(queue, &call, &message, &err));
    ctrd_cancel_free(own);
    ctrd_queue_free(queue);
    OK(ctrd_set_log_hook(CTRD_LOG_OFF, NULL, NULL, NULL, &err));
    CHECK(destroyed == 1);
}

static void be_a_daemon(int report)
{
    ctrd_client_t *client = test_client();
    const char *image = test_image(client), *id;
    ctrd_io_t io = CTRD_IO_INIT;
    char line[8] = "";
    struct pollfd ready;
    uint64_t hook;
    uint32_t ran = 0;
    int output[2];

    CHECK(pipe(output) == 0);
    io.stdout_kind = CTRD_IO_FD;
    io.stdout_fd = output[1];
    hook = test_add_hook(client, CTRD_KIND_EXIT, NULL, CTRD_HOOK_DISPATCH, count, NULL, NULL);
    id = test_create(client, image, "echo hello; exit 7", &io, 0, NULL);
    ready.fd = ctrd_dispatch_fd(client);
    ready.events = POLLIN;
    CHECK(ready.fd >= 0 && poll(&ready, 1, 30000) == 1);
    OK(ctrd_dispatch(client, 0, &ran, &err));
    CHECK(ran == 1 && told == 1);
    CHECK(read(output[0], line, sizeof line - 1) == 6 && strcmp(line, "hello\n") == 0);
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
    OK(ctrd_remove_hook(client, hook, NULL, &err));
    after_forking(client);
    ctrd_client_free(client);
    CHECK(write(report, "ok", 2) == 2);
    exit(0);
}

int main(void)
{
    char answer[3] = "";
    int report[2], status;
    pid_t child;

    before_forking();
    CHECK(pipe(report) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(setsid() > 0);
        child = fork();
        CHECK(child >= 0);
        if (child == 0)
            be_a_daemon(report[1]);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(report[1]);
    CHECK(read(report[0], answer, 2) == 2 && strcmp(answer, "ok") == 0);
    ctrd_queue_free(queue);
    ctrd_cancel_free(unfired);
    ctrd_cancel_free(fired);
    return 0;
}
