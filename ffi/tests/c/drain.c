/* Output that is still in the pipes after the exit: how long it is waited for, and how a loss is
 * reported. */
#include "test.h"

#include <pthread.h>

/* More than the pipes between process and program hold without the shim's part, and less than they hold
 * with it: the process can end while nobody reads. */
#define WRITTEN 200000

static ctrd_client_t *client;
static const char *image;

/* A container that writes, and ends; and the other end of its standard error. */
static const char *create(int64_t drain_ms, uint32_t cleanup, int *reader)
{
    const char *args[3] = {"/bin/sh", "-c", NULL};
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_io_t io = CTRD_IO_INIT;
    char command[80], *spec;
    int ends[2];

    snprintf(command, sizeof command, "head -c %d /dev/zero >&2; exit 3", WRITTEN);
    args[2] = command;
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    io.stderr_kind = CTRD_IO_FD_TAKE;
    io.stderr_fd = ends[1];
    *reader = ends[0];
    config.id = test_id("c");
    config.image = image;
    config.spec_json = spec = test_spec(config.id);
    config.args = args;
    config.args_len = 3;
    config.drain_ms = drain_ms;
    config.cleanup = cleanup;
    OK(ctrd_create_container(client, &config, &io, NULL, NULL, &err));
    ctrd_string_free(spec);
    OK(ctrd_probe(client, config.id, NULL, NULL, &soon, NULL, &err));
    return config.id;
}

/* Reads to the end, and gives how many bytes there were. */
static uint64_t read_all(int reader)
{
    static char data[65536];
    uint64_t sum = 0;
    ssize_t count;

    while ((count = read(reader, data, sizeof data)) > 0)
        sum += (uint64_t)count;
    CHECK(count == 0);
    close(reader);
    return sum;
}

/* How many bytes a message says were lost; it is freed. */
static uint64_t lost(ctrd_message_t *message)
{
    uint64_t out = 77, problems = 77;
    int32_t some = ctrd_message_output_lost(message, &out, &problems);

    CHECK(some == ctrd_message_output_lost(message, NULL, NULL));
    CHECK(out == 0 && some == (problems > 0));
    ctrd_message_free(message);
    return problems;
}

static uint64_t lost_by_client(void)
{
    ctrd_counters_t counters = CTRD_COUNTERS_INIT;

    OK(ctrd_client_counters(client, &counters, &err));
    return counters.output_lost;
}

static void by_a_destroy(int64_t drain_ms, int64_t at_least_ms)
{
    ctrd_destroy_config_t config = CTRD_DESTROY_CONFIG_INIT;
    ctrd_message_t *message = NULL;
    uint64_t before = lost_by_client(), bytes;
    int64_t began;
    int reader;
    const char *id = create(0, CTRD_CLEANUP_KEEP, &reader);

    config.grace_ms = CTRD_GRACE_NONE;
    config.drain_ms = drain_ms;
    began = test_now_ms();
    OK(ctrd_destroy_container(client, id, &config, NULL, &message, &err));
    CHECK(test_now_ms() - began >= at_least_ms);
    bytes = lost(message);
    CHECK(bytes > 0 && bytes + read_all(reader) == WRITTEN);
    CHECK(lost_by_client() - before == bytes);
}

static void *read_late(void *reader)
{
    test_sleep_ms(1500);
    CHECK(read_all(*(int *)reader) == WRITTEN);
    return NULL;
}

/* If the caller waits without an end, nothing is lost; a wait can end with the call's time. */
static void nothing_lost(void)
{
    ctrd_destroy_config_t config = CTRD_DESTROY_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_message_t *message = NULL;
    uint64_t before = lost_by_client();
    int reader;
    const char *id = create(0, CTRD_CLEANUP_KEEP, &reader);
    pthread_t thread;

    config.drain_ms = CTRD_FOREVER;
    call.timeout_ms = 1500;
    FAILS(CTRD_E_TIMEOUT, ctrd_destroy_container(client, id, &config, &call, &message, &err));
    CHECK(message == NULL);
    CHECK(pthread_create(&thread, NULL, read_late, &reader) == 0);
    OK(ctrd_destroy_container(client, id, &config, &soon, &message, &err));
    CHECK(lost(message) == 0 && lost_by_client() == before);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void by_a_clean_up(void)
{
    ctrd_container_info_t *info = NULL;
    ctrd_call_t poll = CTRD_CALL_INIT;
    ctrd_message_t *message = NULL;
    int64_t deadline = test_now_ms() + 30000;
    uint64_t bytes;
    int reader;
    const char *id = create(CTRD_DRAIN_NONE, CTRD_CLEANUP_ALL, &reader);

    while (ctrd_get_container(client, id, NULL, &info, NULL) != CTRD_E_NOT_FOUND) {
        ctrd_container_info_free(info);
        CHECK(test_now_ms() < deadline);
        test_sleep_ms(20);
    }
    poll.timeout_ms = CTRD_POLL;
    OK(ctrd_probe(client, id, NULL, NULL, &poll, &message, &err));
    bytes = lost(message);
    CHECK(bytes > 0 && bytes + read_all(reader) == WRITTEN);

    /* A clean-up that may wait for ever does not happen while the reader is stuck. */
    id = create(CTRD_FOREVER, CTRD_CLEANUP_ALL, &reader);
    test_sleep_ms(2000);
    OK(ctrd_get_container(client, id, NULL, &info, &err));
    ctrd_container_info_free(info);
    CHECK(read_all(reader) == WRITTEN);
    deadline = test_now_ms() + 30000;
    while (ctrd_get_container(client, id, NULL, &info, NULL) != CTRD_E_NOT_FOUND) {
        ctrd_container_info_free(info);
        CHECK(test_now_ms() < deadline);
        test_sleep_ms(20);
    }
    OK(ctrd_destroy_container(client, id, NULL, NULL, &message, &err));
    CHECK(lost(message) == 0);
}

static void refusals(void)
{
    ctrd_destroy_config_t destroy = CTRD_DESTROY_CONFIG_INIT;
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    uint64_t out = 77, problems = 77;

    destroy.drain_ms = -2;
    REFUSES("drain_ms", ctrd_destroy_container(client, "x", &destroy, NULL, NULL, &err));
    destroy.drain_ms = CTRD_POLL;
    REFUSES("drain_ms", ctrd_destroy_container(client, "x", &destroy, NULL, NULL, &err));
    config.id = "x";
    config.image = image;
    config.drain_ms = -2;
    REFUSES("drain_ms", ctrd_create_container(client, &config, NULL, NULL, NULL, &err));
    CHECK(ctrd_message_output_lost(NULL, &out, &problems) == 0 && out == 0 && problems == 0);
}

int main(void)
{
    client = test_client();
    image = test_image(client);
    by_a_destroy(0, 1000);
    by_a_destroy(1500, 1500);
    by_a_destroy(CTRD_DRAIN_NONE, 0);
    nothing_lost();
    by_a_clean_up();
    refusals();
    ctrd_client_free(client);
    return 0;
}
