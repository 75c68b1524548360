/* ctrd_set_call_threads() bounds the threads of submitted calls, in this process of its own. */
#include "test.h"

#include <pthread.h>

#define CLIENTS 3
#define CALLS 40

static ctrd_client_t *clients[CLIENTS];
static ctrd_queue_t *queue;
static int submitted;

/* While this is set, requests do not reach containerd, so each call holds its thread. */
static int stalled;

struct pipe_end {
    int from, to, stalls;
};

/* Passes on what comes from one socket to another one. */
static void *pass(void *given)
{
    struct pipe_end end = *(struct pipe_end *)given;
    char buffer[4096];
    ssize_t len;

    free(given);
    while ((len = read(end.from, buffer, sizeof buffer)) > 0) {
        ssize_t done = 0, sent;

        while (end.stalls && __atomic_load_n(&stalled, __ATOMIC_SEQ_CST))
            test_sleep_ms(2);
        while (done < len && (sent = send(end.to, buffer + done, (size_t)(len - done), MSG_NOSIGNAL)) > 0)
            done += sent;
        if (done < len)
            break;
    }
    shutdown(end.from, SHUT_RDWR);
    shutdown(end.to, SHUT_RDWR);
    return NULL;
}

static void begin(void *(*run)(void *), void *argument)
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, run, argument) == 0);
    CHECK(pthread_detach(thread) == 0);
}

static void pass_on(int from, int to, int stalls)
{
    struct pipe_end *end = malloc(sizeof *end);

    CHECK(end != NULL);
    end->from = from;
    end->to = to;
    end->stalls = stalls;
    begin(pass, end);
}

/* Connects each client of the socket to containerd. The descriptors stay until the process ends. */
static void *relay(void *server)
{
    const char *path = test_environment("CTRD_TEST_ADDRESS");
    struct sockaddr_un address;

    if (strncmp(path, "unix:", 5) == 0)
        path += 5;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    CHECK(strlen(path) < sizeof address.sun_path);
    strcpy(address.sun_path, path);
    for (;;) {
        int client = accept(*(int *)server, NULL, NULL);
        int upstream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(client >= 0 && upstream >= 0);
        CHECK(connect(upstream, (struct sockaddr *)&address, sizeof address) == 0);
        pass_on(client, upstream, 1);
        pass_on(upstream, client, 0);
    }
    return NULL;
}

static void submit(ctrd_client_t *client)
{
    ctrd_call_t call = CTRD_CALL_INIT;

    call.queue = queue;
    call.timeout_ms = 120000;
    OK(ctrd_version(client, &call, NULL, &err));
    submitted++;
}

/* More calls than there may be threads, and none of them can end. */
static void submit_many(void)
{
    int i;

    __atomic_store_n(&stalled, 1, __ATOMIC_SEQ_CST);
    for (i = 0; i < CLIENTS * CALLS; i++)
        submit(clients[i % CLIENTS]);
}

static void complete_all(void)
{
    __atomic_store_n(&stalled, 0, __ATOMIC_SEQ_CST);
    for (; submitted > 0; submitted--) {
        ctrd_message_t *message = test_next(queue, CTRD_KIND_DONE);

        CHECK(ctrd_message_status(message) == CTRD_OK);
        ctrd_message_free(message);
    }
}

/* Waits until there are so many threads, and asserts that there are never more. */
static void reaches(int threads)
{
    int64_t began = test_now_ms();
    int i, count;

    while ((count = test_threads("ctrd-call")) < threads && test_now_ms() - began < 60000)
        test_sleep_ms(10);
    for (i = 0; i < 20; i++) {
        if (count != threads) {
            fprintf(stderr, "%d threads instead of %d\n", count, threads);
            exit(1);
        }
        test_sleep_ms(10);
        count = test_threads("ctrd-call");
    }
}

/* Waits until there are no more threads than that. */
static void falls(int threads)
{
    int64_t began = test_now_ms();

    while (test_threads("ctrd-call") > threads) {
        CHECK(test_now_ms() - began < 60000);
        test_sleep_ms(10);
    }
}

int main(void)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    char *path = test_path("relay");
    int server = test_mute_server(path), i;

    begin(relay, &server);
    queue = test_queue();
    config.address = path;
    for (i = 0; i < CLIENTS; i++)
        OK(ctrd_client_open(&config, NULL, &clients[i], &err));

    /* The default. */
    submit_many();
    reaches(16);
    complete_all();

    /* Fewer than run end as the calls end. */
    submit_many();
    reaches(16);
    OK(ctrd_set_call_threads(4, &err));
    complete_all();
    falls(4);
    submit_many();
    reaches(4);

    /* More, while all of them are busy and others wait: the next call is enough to make them. */
    OK(ctrd_set_call_threads(24, &err));
    submit(clients[0]);
    reaches(24);
    complete_all();

    /* Refused, it changes nothing. */
    REFUSES("threads", ctrd_set_call_threads(3, &err));
    submit_many();
    reaches(24);
    complete_all();

    for (i = 0; i < CLIENTS; i++)
        ctrd_client_free(clients[i]);
    ctrd_queue_free(queue);
    unlink(path);
    free(path);
    return 0;
}
