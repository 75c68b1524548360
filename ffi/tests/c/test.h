/*
 * What the programs of the C suite share. Each of them is a topic; it ends with 0 if all is well, and
 * says what is not otherwise.
 *
 * run.sh gives them a containerd (CTRD_TEST_ADDRESS), an image in a registry (CTRD_TEST_IMAGE) and a
 * directory (CTRD_TEST_DIR).
 */
#ifndef TEST_H
#define TEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctrd.h"

#define UNUSED __attribute__((unused))

/* The error of the last call that was made inside OK or FAILS. */
static ctrd_error_t *err;

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                       \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* The limits of a wait for something that comes soon: the test fails, and does not hang. */
static UNUSED const ctrd_call_t soon = {sizeof(ctrd_call_t), NULL, NULL, NULL, NULL, 0, 60000, 0};

/* A destroy without a grace period. */
static UNUSED const ctrd_destroy_config_t at_once = {sizeof(ctrd_destroy_config_t), 0,
                                                     CTRD_GRACE_NONE, 0};

/* The call, whose last argument is &err, must succeed. */
#define OK(call) test_status(__FILE__, __LINE__, #call, (call), CTRD_OK)
/* The call, whose last argument is &err, must fail so. */
#define FAILS(status, call) test_status(__FILE__, __LINE__, #call, (call), (status))
/* The call must refuse an argument, and name it. */
#define REFUSES(argument, call) test_refusal(__FILE__, __LINE__, #call, (call), (argument))

static UNUSED void test_status(const char *file, int line, const char *call, ctrd_status_t status,
                               ctrd_status_t expected)
{
    if (status != expected || ctrd_error_status(err) != status || (err == NULL) != (status == 0)) {
        fprintf(stderr, "%s:%d: %s: %d instead of %d: %s\n", file, line, call, status, expected,
                err ? ctrd_error_text(err) : "no error");
        exit(1);
    }
    ctrd_error_free(err);
    err = NULL;
}

static UNUSED void test_refusal(const char *file, int line, const char *call, ctrd_status_t status,
                                const char *argument)
{
    const char *message = err ? ctrd_error_message(err) : "no error";
    size_t length = strlen(argument);

    if (status != CTRD_E_INVALID_ARGUMENT || strncmp(message, argument, length) != 0
        || message[length] != ':') {
        fprintf(stderr, "%s:%d: %s: %d: %s: %s is not refused\n", file, line, call, status, message,
                argument);
        exit(1);
    }
    ctrd_error_free(err);
    err = NULL;
}

static UNUSED const char *test_environment(const char *name)
{
    const char *value = getenv(name);

    if (value == NULL) {
        fprintf(stderr, "%s is not set; start the suite with ffi/tests/run.sh\n", name);
        exit(1);
    }
    return value;
}

/* A path in the suite's directory; the caller frees it. */
static UNUSED char *test_path(const char *name)
{
    const char *directory = test_environment("CTRD_TEST_DIR");
    char *path = malloc(strlen(directory) + strlen(name) + 32);

    CHECK(path != NULL);
    sprintf(path, "%s/%s.%ld", directory, name, (long)getpid());
    return path;
}

/* A client of this namespace; NULL: the default. */
static UNUSED ctrd_client_t *test_client_in(const char *namespace_name)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_client_t *client = NULL;
    char *state = test_path("state");

    config.address = test_environment("CTRD_TEST_ADDRESS");
    config.state_dir = state;
    config.namespace_name = namespace_name;
    OK(ctrd_client_open(&config, NULL, &client, &err));
    CHECK(client != NULL);
    free(state);
    return client;
}

static UNUSED ctrd_client_t *test_client(void)
{
    return test_client_in(NULL);
}

/* The image that the containers of a topic are made from, pulled if it is not there. */
static UNUSED const char *test_image(ctrd_client_t *client)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;

    config.reference = test_environment("CTRD_TEST_IMAGE");
    OK(ctrd_pull_image(client, &config, NULL, NULL, &err));
    return config.reference;
}

/* The specification for a container; NULL for the default with the image's configuration, unless the
 * suite runs where users cannot be looked up in images. The caller frees it. */
static UNUSED char *test_spec(const char *id)
{
    char *json = NULL;

    if (getenv("CTRD_TEST_OWN_SPEC") != NULL)
        OK(ctrd_default_spec(NULL, id, &json, &err));
    return json;
}

/* A container's id that no other topic has. */
static UNUSED const char *test_id(const char *name)
{
    static char ids[8][64];
    static unsigned next;
    char *id = ids[next++ % 8];

    snprintf(id, sizeof ids[0], "%s-%ld-%u", name, (long)getpid(), next);
    return id;
}

/* Creates a container that runs a shell command, and gives its id. */
static UNUSED const char *test_create(ctrd_client_t *client, const char *image, const char *command,
                                      const ctrd_io_t *io, uint64_t flags, uint32_t *pid)
{
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_process_t process;
    const char *args[3] = {"/bin/sh", "-c", NULL};
    char *spec;

    args[2] = command;
    config.id = test_id("c");
    config.spec_json = spec = test_spec(config.id);
    config.image = image;
    config.args = args;
    config.args_len = 3;
    config.flags = flags;
    OK(ctrd_create_container(client, &config, io, NULL, &process, &err));
    if (pid != NULL)
        *pid = process.pid;
    ctrd_string_free(spec);
    return config.id;
}

/* Adds a hook, and gives its number. It may have no filters. */
static UNUSED uint64_t test_add_hook(ctrd_client_t *client, uint32_t kinds, const char *id,
                                     uint32_t mode, ctrd_message_fn callback, void *userdata,
                                     ctrd_destroy_fn destroy)
{
    ctrd_hook_config_t config = CTRD_HOOK_CONFIG_INIT;
    uint64_t hook = 0;

    config.kinds = kinds;
    config.id = id;
    config.mode = mode;
    OK(ctrd_add_hook(client, &config, callback, userdata, destroy, NULL, &hook, &err));
    CHECK(hook != 0);
    return hook;
}

static UNUSED ctrd_queue_t *test_queue(void)
{
    ctrd_queue_t *queue = NULL;

    OK(ctrd_queue_new(NULL, &queue, &err));
    CHECK(queue != NULL);
    return queue;
}

/* Subscribes a queue to messages of these kinds; filter may be NULL. */
static UNUSED ctrd_subscription_t *test_subscribe(ctrd_queue_t *queue, ctrd_client_t *client,
                                                  uint32_t kinds, const char *filter, uint64_t tag)
{
    ctrd_subscription_config_t config = CTRD_SUBSCRIPTION_CONFIG_INIT;
    ctrd_subscription_t *subscription = NULL;

    config.kinds = kinds;
    config.filters = &filter;
    config.filters_len = filter != NULL;
    config.tag = tag;
    OK(ctrd_queue_subscribe(queue, client, &config, NULL, &subscription, &err));
    CHECK(subscription != NULL);
    return subscription;
}

/* Fetches the next message, which must be of this kind. The caller frees it. */
static UNUSED ctrd_message_t *test_next(ctrd_queue_t *queue, uint32_t kind)
{
    ctrd_message_t *message = NULL;

    OK(ctrd_queue_next(queue, &soon, &message, &err));
    if (ctrd_message_kind(message) != kind) {
        fprintf(stderr, "a message of kind %u instead of %u: %s: %s\n",
                (unsigned)ctrd_message_kind(message), (unsigned)kind,
                ctrd_status_name(ctrd_message_status(message)),
                ctrd_error_text(ctrd_message_error(message)));
        exit(1);
    }
    return message;
}

static UNUSED int64_t test_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static UNUSED void test_sleep_ms(long ms)
{
    struct timespec span;

    span.tv_sec = ms / 1000;
    span.tv_nsec = ms % 1000 * 1000000;
    while (nanosleep(&span, &span) != 0)
        CHECK(errno == EINTR);
}

/* How many threads of this process have a name that begins like this. */
static UNUSED int test_threads(const char *prefix)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    char path[300], name[32];
    int count = 0;

    CHECK(tasks != NULL);
    while ((task = readdir(tasks)) != NULL) {
        FILE *file;

        if (task->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        file = fopen(path, "r");
        if (file == NULL)
            continue;
        if (fgets(name, sizeof name, file) != NULL && strncmp(name, prefix, strlen(prefix)) == 0)
            count++;
        fclose(file);
    }
    closedir(tasks);
    return count;
}

/* A listening socket that never answers. */
static UNUSED int test_mute_server(const char *path)
{
    struct sockaddr_un address;
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(server >= 0);
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    CHECK(strlen(path) < sizeof address.sun_path);
    strcpy(address.sun_path, path);
    CHECK(bind(server, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(server, 8) == 0);
    return server;
}

/* Waits for a child, and returns its exit code; -1 if a signal ended it. */
static UNUSED int test_exit_code(pid_t child)
{
    int status = 0;

    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
