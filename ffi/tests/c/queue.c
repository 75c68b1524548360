/* Queues: their descriptor, waiting at them, what they drop, what they never drop, and their end. */
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

/* A queue that is subscribed to the client. */
struct subscribed {
    ctrd_queue_t *queue;
    ctrd_subscription_t *subscription;
};

static struct subscribed subscribe(uint32_t kinds, uint64_t tag)
{
    struct subscribed made;

    made.queue = test_queue();
    made.subscription = test_subscribe(made.queue, client, kinds, NULL, tag);
    CHECK(ctrd_queue_fd(made.queue) > 2 && ctrd_queue_fd(made.queue) == ctrd_queue_fd(made.queue));
    CHECK(fcntl(ctrd_queue_fd(made.queue), F_GETFD) & FD_CLOEXEC);
    return made;
}

static void free_both(struct subscribed *made)
{
    ctrd_subscription_free(made->subscription);
    ctrd_queue_free(made->queue);
}

/* Runs a container to its end, which may be told a moment later. */
static void run(const char *command)
{
    const char *id = test_create(client, image, command, NULL, 0, NULL);

    OK(ctrd_probe(client, id, NULL, NULL, &soon, NULL, &err));
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
}

/* The exit code of the next message, which must be of an exit. */
static uint32_t next_code(ctrd_queue_t *queue)
{
    ctrd_message_t *message = test_next(queue, CTRD_KIND_EXIT);
    uint32_t code = 0xffffffff;

    CHECK(ctrd_message_exit_code(message, &code) == 1);
    CHECK(ctrd_message_status(message) == CTRD_OK && ctrd_message_pid(message) != 0);
    ctrd_message_free(message);
    return code;
}

static void is_empty(ctrd_queue_t *queue)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_message_t *message = (ctrd_message_t *)&err;

    FAILS(CTRD_E_WOULD_BLOCK, ctrd_queue_try_next(queue, &message, &err));
    CHECK(message == NULL);
    message = (ctrd_message_t *)&err;
    call.timeout_ms = CTRD_POLL;
    FAILS(CTRD_E_WOULD_BLOCK, ctrd_queue_next(queue, &call, &message, &err));
    CHECK(message == NULL && !readable(queue, 0));
}

static void *fire_later(void *cancel)
{
    test_sleep_ms(100);
    ctrd_cancel_fire(cancel);
    return NULL;
}

static void waiting(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    struct subscribed made = subscribe(CTRD_KIND_EXIT | CTRD_KIND_EXEC_EXIT, 0);
    ctrd_message_t *message = NULL;
    ctrd_cancel_t *cancel = NULL;
    pthread_t thread;
    int64_t began;

    is_empty(made.queue);
    call.timeout_ms = 100;
    began = test_now_ms();
    FAILS(CTRD_E_TIMEOUT, ctrd_queue_next(made.queue, &call, &message, &err));
    CHECK(test_now_ms() - began >= 100);
    OK(ctrd_cancel_new(&cancel, &err));
    CHECK(pthread_create(&thread, NULL, fire_later, cancel) == 0);
    call.timeout_ms = CTRD_FOREVER;
    call.cancel = cancel;
    FAILS(CTRD_E_CANCELLED, ctrd_queue_next(made.queue, &call, &message, &err));
    CHECK(pthread_join(thread, NULL) == 0);
    ctrd_cancel_free(cancel);

    /* Readable until the last message is fetched. */
    run("exit 1");
    run("exit 2");
    CHECK(readable(made.queue, 30000));
    CHECK(next_code(made.queue) == 1 && readable(made.queue, 30000));
    CHECK(next_code(made.queue) == 2);
    is_empty(made.queue);
    free_both(&made);
}

/* Events are dropped if the queue is full, and counted. Exits are not. */
static void overflow(void)
{
    ctrd_queue_config_t config = CTRD_QUEUE_CONFIG_INIT;
    ctrd_counters_t counters = CTRD_COUNTERS_INIT;
    ctrd_subscription_t *subscription;
    ctrd_queue_t *queue = NULL;
    int64_t deadline = test_now_ms() + 30000;
    int i, exits = 0, starts = 0, overflows = 0;

    config.capacity = 1;
    OK(ctrd_queue_new(&config, &queue, &err));
    subscription = test_subscribe(queue, client, CTRD_KIND_EXIT | CTRD_KIND_EVENT,
                                  "topic==\"/tasks/start\",namespace==default", 3);
    run("exit 1");
    run("exit 2");
    run("exit 3");
    do {
        CHECK(test_now_ms() < deadline);
        OK(ctrd_client_counters(client, &counters, &err));
    } while (counters.dropped < 2);
    CHECK(counters.dropped == 2 && counters.outstanding == 0 && counters.reconnects == 0);
    for (i = 0; i < 5; i++) {
        ctrd_message_t *message = NULL;
        uint32_t code = 0;

        OK(ctrd_queue_next(queue, &soon, &message, &err));
        CHECK(ctrd_message_tag(message) == 3);
        switch (ctrd_message_kind(message)) {
        case CTRD_KIND_EXIT:
            CHECK(ctrd_message_exit_code(message, &code) == 1 && code == (uint32_t)++exits);
            break;
        case CTRD_KIND_EVENT:
            starts++;
            break;
        case CTRD_KIND_OVERFLOW:
            overflows++;
            CHECK(ctrd_message_dropped(message) == 2);
            CHECK(*ctrd_message_container_id(message) == 0 && *ctrd_message_namespace(message) == 0);
            break;
        default:
            CHECK(!"another kind");
        }
        ctrd_message_free(message);
    }
    CHECK(exits == 3 && starts == 1 && overflows == 1);
    is_empty(queue);
    /* There is room again. */
    run("exit 4");
    for (i = 0; i < 2; i++) {
        ctrd_message_t *message = NULL;

        OK(ctrd_queue_next(queue, &soon, &message, &err));
        exits += ctrd_message_kind(message) == CTRD_KIND_EXIT;
        starts += ctrd_message_kind(message) == CTRD_KIND_EVENT;
        ctrd_message_free(message);
    }
    CHECK(exits == 4 && starts == 2);
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
}

/* Nobody fetches the exits: then no further process is made. */
static void too_many_exits(void)
{
    ctrd_queue_config_t config = CTRD_QUEUE_CONFIG_INIT;
    ctrd_container_config_t container = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_subscription_t *subscription;
    ctrd_queue_t *queue = NULL;
    int64_t deadline = test_now_ms() + 30000;
    ctrd_status_t status;
    char *spec;

    config.max_exits = 2;
    OK(ctrd_queue_new(&config, &queue, &err));
    subscription = test_subscribe(queue, client, CTRD_KIND_EXIT, NULL, 0);
    run("exit 1");
    run("exit 2");
    container.id = "refused";
    container.image = image;
    container.spec_json = spec = test_spec(container.id);
    /* The second exit may come to the queue a moment after the probe. */
    do {
        CHECK(test_now_ms() < deadline);
        status = ctrd_create_container(client, &container, NULL, NULL, NULL, NULL);
        if (status == CTRD_OK)
            OK(ctrd_destroy_container(client, container.id, &at_once, NULL, NULL, &err));
    } while (status == CTRD_OK);
    CHECK(status == CTRD_E_RESOURCE_EXHAUSTED);
    ctrd_string_free(spec);
    CHECK(next_code(queue) == 1);
    CHECK(next_code(queue) == 2);
    run("exit 3");
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
}

static void progress(void)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    struct subscribed made = subscribe(CTRD_KIND_PROGRESS, 0);
    ctrd_message_t *message;

    config.reference = image;
    OK(ctrd_pull_image(client, &config, NULL, NULL, &err));
    message = test_next(made.queue, CTRD_KIND_PROGRESS);
    CHECK(strcmp(ctrd_message_topic(message), image) == 0);
    CHECK(strstr(ctrd_message_json(message), image) != NULL);
    CHECK(ctrd_message_json(message) == ctrd_message_json(message));
    CHECK(ctrd_message_exit_code(message, NULL) == 0);
    ctrd_message_free(message);
    free_both(&made);
}

static void refusals(void)
{
    const char *filters[2] = {"topic==x", "\xff"};
    ctrd_queue_config_t config = CTRD_QUEUE_CONFIG_INIT;
    ctrd_subscription_config_t asked = CTRD_SUBSCRIPTION_CONFIG_INIT;
    ctrd_subscription_t *made = (ctrd_subscription_t *)&err;
    ctrd_queue_t *queue = (ctrd_queue_t *)&err;
    ctrd_message_t *message = NULL;

    REFUSES("out", ctrd_queue_new(NULL, NULL, &err));
    config.capacity = (1 << 20) + 1;
    REFUSES("capacity", ctrd_queue_new(&config, &queue, &err));
    CHECK(queue == NULL);
    config.capacity = 1 << 20;
    config.reserved = 1;
    REFUSES("reserved", ctrd_queue_new(&config, &queue, &err));
    config.reserved = 0;
    config.reserved_2 = 1;
    REFUSES("reserved_2", ctrd_queue_new(&config, &queue, &err));
    config.reserved_2 = 0;
    OK(ctrd_queue_new(&config, &queue, &err));

    REFUSES("config", ctrd_queue_subscribe(queue, client, NULL, NULL, &made, &err));
    CHECK(made == NULL);
    REFUSES("kinds", ctrd_queue_subscribe(queue, client, &asked, NULL, &made, &err));
    asked.kinds = CTRD_KIND_EXIT | CTRD_KIND_DONE;
    REFUSES("kinds", ctrd_queue_subscribe(queue, client, &asked, NULL, &made, &err));
    asked.kinds = CTRD_KIND_EXIT | 0x80000000;
    REFUSES("kinds", ctrd_queue_subscribe(queue, client, &asked, NULL, &made, &err));
    asked.kinds = CTRD_KIND_EXIT;
    REFUSES("queue", ctrd_queue_subscribe(NULL, client, &asked, NULL, &made, &err));
    REFUSES("client", ctrd_queue_subscribe(queue, NULL, &asked, NULL, &made, &err));
    REFUSES("out", ctrd_queue_subscribe(queue, client, &asked, NULL, NULL, &err));
    asked.filters_len = 1;
    REFUSES("filters", ctrd_queue_subscribe(queue, client, &asked, NULL, &made, &err));
    asked.filters = filters;
    REFUSES("filters", ctrd_queue_subscribe(queue, client, &asked, NULL, &made, &err));
    asked.kinds = CTRD_KIND_EVENT;
    asked.filters_len = 2;
    REFUSES("filters[1]", ctrd_queue_subscribe(queue, client, &asked, NULL, &made, &err));
    filters[1] = "topic==/unquoted";
    REFUSES("filters[1]", ctrd_queue_subscribe(queue, client, &asked, NULL, &made, &err));
    asked.filters_len = 0;
    asked.reserved = 1;
    REFUSES("reserved", ctrd_queue_subscribe(queue, client, &asked, NULL, &made, &err));
    asked.reserved = 0;
    asked.reserved_2 = 1;
    REFUSES("reserved_2", ctrd_queue_subscribe(queue, client, &asked, NULL, &made, &err));

    REFUSES("queue", ctrd_queue_next(NULL, NULL, &message, &err));
    REFUSES("out", ctrd_queue_next(queue, NULL, NULL, &err));
    CHECK(ctrd_queue_fd(NULL) == -1);
    is_empty(queue);
    ctrd_queue_free(queue);
}

/* One queue has the messages of two clients, each with its subscription's tag. */
static void of_two_clients(void)
{
    struct subscribed made = subscribe(CTRD_KIND_EXIT, 1);
    ctrd_client_t *other = test_client();
    ctrd_subscription_t *second = test_subscribe(made.queue, other, CTRD_KIND_EXIT, NULL, 2);
    ctrd_message_t *message;
    uint64_t tags = 0;
    const char *id;
    int i;

    id = test_create(client, image, "sleep 0.5", NULL, 0, NULL);
    OK(ctrd_probe(other, id, NULL, NULL, &soon, NULL, &err));
    for (i = 0; i < 2; i++) {
        message = test_next(made.queue, CTRD_KIND_EXIT);
        CHECK(strcmp(ctrd_message_container_id(message), id) == 0);
        tags += ctrd_message_tag(message);
        ctrd_message_free(message);
    }
    CHECK(tags == 3);
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));

    /* Without its subscription a client's messages do not come any more, not even the last one. */
    ctrd_subscription_free(second);
    ctrd_client_free(other);
    run("exit 1");
    message = test_next(made.queue, CTRD_KIND_EXIT);
    CHECK(ctrd_message_tag(message) == 1);
    ctrd_message_free(message);
    is_empty(made.queue);
    /* Freed in the other order, too. */
    ctrd_queue_free(made.queue);
    run("exit 1");
    ctrd_subscription_free(made.subscription);
}

static void *wait_for_the_end(void *queue)
{
    ctrd_message_t *message = NULL;

    CHECK(ctrd_queue_next(queue, NULL, &message, NULL) == CTRD_OK);
    CHECK(ctrd_message_kind(message) == CTRD_KIND_CLOSED && ctrd_message_tag(message) == 8);
    ctrd_message_free(message);
    return NULL;
}

/* The messages in a queue can be fetched after the client was closed, and after it was freed. */
static void outliving(void)
{
    struct subscribed made = subscribe(CTRD_KIND_EXIT, 7), empty = subscribe(CTRD_KIND_EXEC_EXIT, 8);
    ctrd_subscription_config_t asked = CTRD_SUBSCRIPTION_CONFIG_INIT;
    ctrd_subscription_t *late = NULL;
    ctrd_message_t *message;
    pthread_t thread;

    run("exit 5");
    run("exit 6");
    CHECK(pthread_create(&thread, NULL, wait_for_the_end, empty.queue) == 0);
    test_sleep_ms(50);
    OK(ctrd_client_close(client, NULL, &err));
    CHECK(pthread_join(thread, NULL) == 0);
    is_empty(empty.queue);
    free_both(&empty);
    CHECK(next_code(made.queue) == 5);
    asked.kinds = CTRD_KIND_EXIT;
    FAILS(CTRD_E_CLOSED, ctrd_queue_subscribe(made.queue, client, &asked, NULL, &late, &err));
    CHECK(late == NULL);
    ctrd_client_free(client);
    CHECK(readable(made.queue, 0));
    CHECK(next_code(made.queue) == 6);
    CHECK(readable(made.queue, 0));
    message = test_next(made.queue, CTRD_KIND_CLOSED);
    CHECK(ctrd_message_tag(message) == 7 && ctrd_message_status(message) == CTRD_OK);
    is_empty(made.queue);
    free_both(&made);
    /* A message outlives all of them. */
    CHECK(ctrd_message_tag(message) == 7);
    ctrd_message_free(message);
}

int main(void)
{
    client = test_client();
    image = test_image(client);
    waiting();
    overflow();
    too_many_exits();
    progress();
    refusals();
    of_two_clients();
    outliving();
    return 0;
}
