/* Queues: their descriptor, waiting at them, what is dropped, and their end. */
#include "test.h"

#include <poll.h>
#include <pthread.h>

static ctrd_client_t *client;
static const char *image;

static int readable(const ctrd_queue_t *queue, int timeout_ms)
{
    struct pollfd descriptor;

    descriptor.fd = ctrd_queue_fd(queue);
    descriptor.events = POLLIN;
    return poll(&descriptor, 1, timeout_ms) == 1;
}

static ctrd_queue_t *open_queue(uint64_t kinds, uint32_t capacity)
{
    ctrd_queue_t *queue = NULL;

    OK(ctrd_queue_open(client, kinds, NULL, 0, capacity, NULL, &queue, &err));
    CHECK(queue != NULL && ctrd_queue_fd(queue) > 2);
    CHECK(fcntl(ctrd_queue_fd(queue), F_GETFD) & FD_CLOEXEC);
    return queue;
}

/* Runs a container to its end, which may be told a moment later. */
static void run(const char *command)
{
    const char *id = test_create(client, image, command, NULL, 0, NULL);

    OK(ctrd_probe(client, id, NULL, NULL, &soon, NULL, &err));
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
}

static uint32_t code_of(ctrd_message_t *message)
{
    uint32_t code = 0xffffffff;

    CHECK(ctrd_message_kind(message) == CTRD_KIND_EXIT);
    CHECK(ctrd_message_exit_code(message, &code) == 1);
    ctrd_message_free(message);
    return code;
}

static void *fire_later(void *cancel)
{
    test_sleep_ms(100);
    ctrd_cancel_fire(cancel);
    return NULL;
}

static void waiting(void)
{
    ctrd_call_t call = CTRD_CALL_INIT, poll_call = CTRD_CALL_INIT;
    ctrd_queue_t *queue = open_queue(CTRD_KIND_EXIT | CTRD_KIND_EXEC_EXIT, 0);
    ctrd_message_t *message = (ctrd_message_t *)&err;
    ctrd_cancel_t *cancel = NULL;
    pthread_t thread;
    int64_t began;

    poll_call.timeout_ms = CTRD_POLL;
    CHECK(!readable(queue, 0));
    FAILS(CTRD_E_WOULD_BLOCK, ctrd_queue_next(queue, &poll_call, &message, &err));
    CHECK(message == NULL);
    call.timeout_ms = 100;
    began = test_now_ms();
    FAILS(CTRD_E_TIMEOUT, ctrd_queue_next(queue, &call, &message, &err));
    CHECK(test_now_ms() - began >= 100);
    OK(ctrd_cancel_new(&cancel, &err));
    CHECK(pthread_create(&thread, NULL, fire_later, cancel) == 0);
    call.timeout_ms = CTRD_FOREVER;
    call.cancel = cancel;
    FAILS(CTRD_E_CANCELLED, ctrd_queue_next(queue, &call, &message, &err));
    CHECK(pthread_join(thread, NULL) == 0);
    ctrd_cancel_free(cancel);

    /* Readable until the last message is fetched. */
    run("exit 1");
    run("exit 2");
    CHECK(readable(queue, 30000));
    OK(ctrd_queue_next(queue, &soon, &message, &err));
    CHECK(code_of(message) == 1 && readable(queue, 30000));
    OK(ctrd_queue_next(queue, &poll_call, &message, &err));
    CHECK(code_of(message) == 2 && !readable(queue, 0));
    FAILS(CTRD_E_WOULD_BLOCK, ctrd_queue_next(queue, &poll_call, &message, &err));
    ctrd_queue_free(queue);
}

static void overflow(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_counters_t counters = CTRD_COUNTERS_INIT;
    ctrd_queue_t *queue = open_queue(CTRD_KIND_EXIT, 1);
    ctrd_message_t *message = NULL;
    int64_t deadline = test_now_ms() + 30000;

    call.timeout_ms = CTRD_POLL;
    run("exit 1");
    run("exit 2");
    run("exit 3");
    do {
        CHECK(test_now_ms() < deadline);
        OK(ctrd_client_counters(client, &counters, &err));
    } while (counters.dropped < 2);
    CHECK(counters.dropped == 2 && counters.outstanding == 0 && counters.reconnects == 0);
    OK(ctrd_queue_next(queue, &call, &message, &err));
    CHECK(code_of(message) == 1);
    OK(ctrd_queue_next(queue, &call, &message, &err));
    CHECK(ctrd_message_kind(message) == CTRD_KIND_OVERFLOW && ctrd_message_dropped(message) == 2);
    CHECK(*ctrd_message_container_id(message) == 0 && *ctrd_message_namespace(message) == 0);
    ctrd_message_free(message);
    run("exit 4");
    OK(ctrd_queue_next(queue, &soon, &message, &err));
    CHECK(code_of(message) == 4);
    ctrd_queue_free(queue);
}

static void progress(void)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_queue_t *queue = open_queue(CTRD_KIND_PROGRESS, 0);
    ctrd_message_t *message = NULL;

    config.reference = image;
    OK(ctrd_pull_image(client, &config, NULL, NULL, &err));
    call.timeout_ms = CTRD_POLL;
    OK(ctrd_queue_next(queue, &call, &message, &err));
    CHECK(ctrd_message_kind(message) == CTRD_KIND_PROGRESS);
    CHECK(strcmp(ctrd_message_topic(message), image) == 0);
    CHECK(strstr(ctrd_message_json(message), image) != NULL);
    CHECK(ctrd_message_json(message) == ctrd_message_json(message));
    CHECK(ctrd_message_exit_code(message, NULL) == 0);
    ctrd_message_free(message);
    ctrd_queue_free(queue);
}

static void refusals(void)
{
    const char *filters[2] = {"topic==x", "\xff"};
    ctrd_queue_t *queue = (ctrd_queue_t *)&err;
    ctrd_message_t *message = NULL;

    REFUSES("client", ctrd_queue_open(NULL, CTRD_KIND_EXIT, NULL, 0, 0, NULL, &queue, &err));
    CHECK(queue == NULL);
    REFUSES("out", ctrd_queue_open(client, CTRD_KIND_EXIT, NULL, 0, 0, NULL, NULL, &err));
    REFUSES("kinds", ctrd_queue_open(client, 0, NULL, 0, 0, NULL, &queue, &err));
    REFUSES("kinds", ctrd_queue_open(client, 16, NULL, 0, 0, NULL, &queue, &err));
    REFUSES("filters", ctrd_queue_open(client, CTRD_KIND_EXIT, filters, 1, 0, NULL, &queue, &err));
    REFUSES("filters", ctrd_queue_open(client, CTRD_KIND_EVENT, NULL, 1, 0, NULL, &queue, &err));
    REFUSES("filters[1]", ctrd_queue_open(client, CTRD_KIND_EVENT, filters, 2, 0, NULL, &queue,
                                          &err));
    filters[1] = "topic==/unquoted";
    REFUSES("filters[1]", ctrd_queue_open(client, CTRD_KIND_EVENT, filters, 2, 0, NULL, &queue,
                                          &err));
    REFUSES("capacity", ctrd_queue_open(client, CTRD_KIND_EXIT, NULL, 0, 0xffffffff, NULL, &queue,
                                        &err));
    REFUSES("queue", ctrd_queue_next(NULL, NULL, &message, &err));
    CHECK(queue == NULL && ctrd_queue_fd(NULL) == -1);
    queue = open_queue(CTRD_KIND_EXIT, 0);
    REFUSES("out", ctrd_queue_next(queue, NULL, NULL, &err));
    ctrd_queue_free(queue);
}

static void *wait_for_the_end(void *queue)
{
    ctrd_message_t *message = NULL;
    ctrd_error_t *error = NULL;

    CHECK(ctrd_queue_next(queue, NULL, &message, &error) == CTRD_E_CLOSED && message == NULL);
    ctrd_error_free(error);
    return NULL;
}

/* What is in a queue can be fetched after the client was closed, and after it was freed. */
static void outliving(void)
{
    ctrd_queue_t *queue = open_queue(CTRD_KIND_EXIT, 0), *same = open_queue(CTRD_KIND_EXIT, 0);
    ctrd_queue_t *empty = open_queue(CTRD_KIND_EVENT | CTRD_KIND_EXEC_EXIT, 0), *late = NULL;
    ctrd_message_t *message = NULL;
    pthread_t thread;

    /* What the later one has, the earlier one has. */
    run("exit 5");
    run("exit 6");
    OK(ctrd_queue_next(same, &soon, &message, &err));
    CHECK(code_of(message) == 5);
    OK(ctrd_queue_next(same, &soon, &message, &err));
    CHECK(code_of(message) == 6);
    ctrd_queue_free(empty);
    empty = open_queue(CTRD_KIND_EXEC_EXIT, 0);
    CHECK(pthread_create(&thread, NULL, wait_for_the_end, empty) == 0);
    test_sleep_ms(50);
    OK(ctrd_client_close(client, NULL, &err));
    CHECK(pthread_join(thread, NULL) == 0);
    ctrd_queue_free(empty);
    OK(ctrd_queue_next(queue, &soon, &message, &err));
    CHECK(code_of(message) == 5);
    FAILS(CTRD_E_CLOSED, ctrd_queue_open(client, CTRD_KIND_EXIT, NULL, 0, 0, NULL, &late, &err));
    ctrd_client_free(client);
    CHECK(readable(queue, 0));
    OK(ctrd_queue_next(queue, &soon, &message, &err));
    CHECK(code_of(message) == 6);
    CHECK(readable(queue, 0));
    FAILS(CTRD_E_CLOSED, ctrd_queue_next(queue, NULL, &message, &err));
    CHECK(message == NULL && readable(queue, 0));
    FAILS(CTRD_E_CLOSED, ctrd_queue_next(same, NULL, &message, &err));
    ctrd_queue_free(queue);
    ctrd_queue_free(same);
}

int main(void)
{
    client = test_client();
    image = test_image(client);
    waiting();
    overflow();
    progress();
    refusals();
    outliving();
    return 0;
}
