/* A host in which no thread can be made any more: what has begun goes on, and nothing is lost. */
#include "test.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/types.h>

/* The stack that Rust's threads are given; those of gRPC's core have another one. */
#define STACK (2u << 20)

typedef int create_t(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static volatile int refusing;
static int refused;

/* Replaces the function of the C library, for libctrd as well. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    create_t *create;
    size_t stack = 0;

    if (refusing && attributes != NULL && pthread_attr_getstacksize(attributes, &stack) == 0
        && stack == STACK) {
        __sync_fetch_and_add(&refused, 1);
        return EAGAIN;
    }
    *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    return create(thread, attributes, start, argument);
}

static int told;

static void on_exit_of(void *userdata, const ctrd_message_t *message)
{
    (void)message;
    (void)userdata;
    __sync_fetch_and_add(&told, 1);
}

/* Breaks the connections to containerd. */
static void break_connections(void)
{
    const char *address = test_environment("CTRD_TEST_ADDRESS");
    int fd, broken = 0;

    for (fd = 3; fd < 1024; fd++) {
        struct sockaddr_un peer;
        socklen_t length = sizeof peer;

        memset(&peer, 0, sizeof peer);
        if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && peer.sun_family == AF_UNIX
            && strcmp(peer.sun_path, address) == 0 && shutdown(fd, SHUT_RDWR) == 0)
            broken++;
    }
    CHECK(broken > 0);
}

/* How many threads of the library run hooks or clean-ups. */
static int idle_threads(void)
{
    return test_threads("ctrd-hook") + test_threads("ctrd-job");
}

/* More clean-ups than the library does at once wait for a thread, and no hook does. */
static void clean_up(ctrd_client_t *client, const char *image)
{
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    const char *args[3] = {"/bin/sh", "-c", "sleep 1000"};
    ctrd_client_t *other = test_client_in("refused");
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_subscription_t *subscription;
    ctrd_queue_t *queue;
    ctrd_message_t *message = NULL;
    const char *ids[7];
    ctrd_process_t processes[7];
    uint32_t pid;
    char *spec;
    int i, tries;

    queue = test_queue();
    subscription = test_subscribe(queue, client, CTRD_KIND_EXIT, NULL, 0);
    for (i = 0; i < 7; i++) {
        config.id = ids[i] = test_id("clean");
        config.spec_json = spec = test_spec(config.id);
        config.image = image;
        config.args = args;
        config.args_len = 3;
        config.cleanup = CTRD_CLEANUP_ALL;
        OK(ctrd_create_container(client, &config, NULL, NULL, &processes[i], &err));
        ctrd_string_free(spec);
    }
    for (i = 0; idle_threads() > 0; i++) {
        CHECK(i < 300);
        test_sleep_ms(100);
    }
    refusing = 1;
    for (i = 0; i < 7; i++)
        CHECK(kill((pid_t)processes[i].pid, SIGKILL) == 0);
    call.timeout_ms = 30000;
    for (i = 0; i < 7; i++) {
        OK(ctrd_queue_next(queue, &call, &message, &err));
        CHECK(ctrd_message_kind(message) == CTRD_KIND_EXIT);
        ctrd_message_free(message);
    }
    refusing = 0;
    /* The one whose they are is not called any more. */
    for (i = 0, tries = 0; i < 7; tries++) {
        ctrd_status_t status = ctrd_container_pid(other, ids[i], NULL, &pid, &err);

        ctrd_error_free(err);
        err = NULL;
        CHECK(tries < 300 && (status == CTRD_OK || status == CTRD_E_NOT_FOUND));
        if (status == CTRD_E_NOT_FOUND)
            i++;
        else
            test_sleep_ms(100);
    }
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
    ctrd_client_free(other);
}

/* A submitted call is refused if no thread can be made for it, or for its deadline. Nothing of it is left:
 * it is accepted when threads can be made again. */
static void submit(ctrd_client_t *client)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_queue_t *queue = test_queue();
    ctrd_message_t *message;

    call.queue = queue;
    refusing = 1;
    FAILS(CTRD_E_IO, ctrd_version(client, &call, NULL, &err));
    FAILS(CTRD_E_IO, ctrd_start_container(client, "nobody", &call, NULL, &err));
    call.timeout_ms = CTRD_FOREVER;
    FAILS(CTRD_E_IO, ctrd_version(client, &call, NULL, &err));
    refusing = 0;
    call.timeout_ms = 0;
    FAILS(CTRD_E_WOULD_BLOCK, ctrd_queue_try_next(queue, &message, &err));
    OK(ctrd_start_container(client, "nobody", &call, NULL, &err));
    message = test_next(queue, CTRD_KIND_DONE);
    CHECK(ctrd_message_status(message) == CTRD_E_NOT_FOUND);
    ctrd_message_free(message);
    OK(ctrd_version(client, &call, NULL, &err));
    message = test_next(queue, CTRD_KIND_DONE);
    CHECK(ctrd_message_status(message) == CTRD_OK);
    ctrd_message_free(message);
    ctrd_queue_free(queue);
}

int main(void)
{
    ctrd_client_t *client = test_client_in("refused");
    const char *image = test_image(client), *id;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_subscription_t *subscription;
    ctrd_queue_t *queue;
    ctrd_message_t *message = NULL;
    uint32_t kinds[2];
    uint32_t pid, code = 0;
    int i;

    queue = test_queue();
    subscription = test_subscribe(queue, client, CTRD_KIND_EXIT | CTRD_KIND_EVENT,
                                  "topic==\"/tasks/start\",namespace==refused", 0);
    test_add_hook(client, CTRD_KIND_EXIT, NULL, CTRD_HOOK_THREAD, on_exit_of, NULL, NULL);
    id = test_create(client, image, "sleep 1000", NULL, 0, &pid);
    call.timeout_ms = 30000;
    OK(ctrd_queue_next(queue, &call, &message, &err));
    CHECK(strcmp(ctrd_message_topic(message), "/tasks/start") == 0);
    ctrd_message_free(message);
    for (i = 0; idle_threads() > 0; i++) {
        CHECK(i < 300);
        test_sleep_ms(100);
    }

    refusing = 1;
    break_connections();
    CHECK(kill((pid_t)pid, SIGKILL) == 0);
    /* Nobody calls anything of the client's from here on. */
    for (i = 0; i < 2; i++) {
        OK(ctrd_queue_next(queue, &call, &message, &err));
        kinds[i] = ctrd_message_kind(message);
        if (kinds[i] == CTRD_KIND_EXIT)
            CHECK(ctrd_message_exit_code(message, &code) == 1 && code == 137);
        ctrd_message_free(message);
    }
    CHECK(kinds[0] != kinds[1]);
    CHECK(kinds[0] == CTRD_KIND_GAP || kinds[1] == CTRD_KIND_GAP);
    /* The hook's thread is tried for after the queue has its message. */
    for (i = 0; __sync_fetch_and_add(&refused, 0) == 0; i++) {
        CHECK(i < 300);
        test_sleep_ms(100);
    }
    CHECK(told == 0);

    refusing = 0;
    for (i = 0; __sync_fetch_and_add(&told, 0) == 0; i++) {
        CHECK(i < 300);
        test_sleep_ms(100);
    }
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
    CHECK(told == 1);
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
    clean_up(client, image);
    submit(client);
    ctrd_client_free(client);
    return 0;
}
