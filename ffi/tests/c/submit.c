/* Submitted calls: their order, limits, arguments and results, and the end of queues and clients. What each
 * function gives is in ffi/tests/both_ways.rs. */
#include "test.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>

static ctrd_client_t *client;
static ctrd_queue_t *queue;
static const char *image;

/* A call that is submitted to the queue with a tag. */
static ctrd_call_t with_tag(uint64_t tag)
{
    ctrd_call_t call = CTRD_CALL_INIT;

    call.queue = queue;
    call.tag = tag;
    return call;
}

static void is_empty(void)
{
    ctrd_message_t *message = NULL;

    FAILS(CTRD_E_WOULD_BLOCK, ctrd_queue_try_next(queue, &message, &err));
}

/* The next completion, which must have this tag and status. The caller frees it. */
static ctrd_message_t *completed(uint64_t tag, ctrd_status_t status)
{
    ctrd_message_t *message = test_next(queue, CTRD_KIND_DONE);

    if (ctrd_message_tag(message) != tag || ctrd_message_status(message) != status) {
        fprintf(stderr, "call %d instead of %d: %s instead of %s: %s\n",
                (int)ctrd_message_tag(message), (int)tag,
                ctrd_status_name(ctrd_message_status(message)), ctrd_status_name(status),
                ctrd_error_text(ctrd_message_error(message)));
        exit(1);
    }
    CHECK((ctrd_message_error(message) == NULL) == (status == CTRD_OK));
    return message;
}

static void completes(uint64_t tag, ctrd_status_t status)
{
    ctrd_message_free(completed(tag, status));
}

static int descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* In a child of a process that has submitted a call, and done nothing else, the library cannot be used. */
static void in_a_child(void)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_call_t call = with_tag(1);
    ctrd_client_t *opened = NULL;
    ctrd_queue_t *own = NULL;
    ctrd_message_t *message;
    pid_t child;

    config.address = "/nonexistent/containerd.sock";
    OK(ctrd_client_open(&config, &call, NULL, &err));
    message = completed(1, CTRD_E_NOT_FOUND);
    CHECK(strcmp(ctrd_error_subject(ctrd_message_error(message)), config.address) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        FAILS(CTRD_E_FORKED, ctrd_client_open(&config, &call, NULL, &err));
        FAILS(CTRD_E_FORKED, ctrd_message_take_client(message, &opened, &err));
        FAILS(CTRD_E_FORKED, ctrd_set_call_threads(8, &err));
        /* Not with a queue of its own either: the threads of the pool are not there. */
        OK(ctrd_queue_new(NULL, &own, &err));
        call.queue = own;
        FAILS(CTRD_E_FORKED, ctrd_client_open(&config, &call, NULL, &err));
        CHECK(ctrd_message_status(message) == CTRD_E_NOT_FOUND);
        ctrd_message_free(message);
        ctrd_queue_free(queue);
        ctrd_queue_free(own);
        /* What is left to the parent would count as lost at an exit. */
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    CHECK(test_exit_code(child) == 0);
    ctrd_message_free(message);
}

/* The strings and structs are copied, the descriptors duplicated or taken: nothing of the caller's is
 * looked at when the function has returned. */
static void create(const char *given_id, const char *script, uint64_t tag, int out)
{
    ctrd_container_config_t *config = calloc(1, sizeof *config);
    ctrd_call_t *call = malloc(sizeof *call);
    ctrd_io_t *io = calloc(1, sizeof *io);
    const char **args = malloc(3 * sizeof *args);
    char *id = strdup(given_id), *text = strdup(script), *reference = strdup(image);
    char *spec = test_spec(id);

    CHECK(config && call && io && args && id && text && reference);
    args[0] = "/bin/sh";
    args[1] = "-c";
    args[2] = text;
    ctrd_container_config_init(config, sizeof *config);
    config->id = id;
    config->image = reference;
    config->spec_json = spec;
    config->args = args;
    config->args_len = 3;
    ctrd_io_init(io, sizeof *io);
    if (out >= 0) {
        io->stdout_kind = CTRD_IO_FD_TAKE;
        io->stdout_fd = out;
    }
    *call = with_tag(tag);
    OK(ctrd_create_container(client, config, io, call, NULL, &err));
    memset(text, 'x', strlen(text));
    memset(id, 'x', strlen(id));
    memset(reference, 'x', strlen(reference));
    free(text);
    free(id);
    free(reference);
    ctrd_string_free(spec);
    free(args);
    free(io);
    free(call);
    free(config);
}

static void submit_destroy(const char *id, uint64_t tag)
{
    ctrd_call_t call = with_tag(tag);

    OK(ctrd_destroy_container(client, id, NULL, &call, NULL, &err));
}

/* Creates, exits and destroys of many containers, submitted all at once by one thread. */
static void in_order(void)
{
    enum { MANY = 10 };
    ctrd_subscription_t *subscription = test_subscribe(queue, client, CTRD_KIND_EXIT, NULL, 1000);
    char ids[MANY][64], script[64], line[16];
    int steps[MANY] = {0}, pids[MANY] = {0}, output[2], i;
    uint64_t generations[MANY] = {0};

    CHECK(pipe2(output, O_CLOEXEC) == 0);
    for (i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof ids[i], "%s", test_id("order"));
        snprintf(script, sizeof script, "echo %d; exit %d", i, i);
        create(ids[i], script, (uint64_t)i, fcntl(output[1], F_DUPFD_CLOEXEC, 3));
        submit_destroy(ids[i], (uint64_t)(100 + i));
    }
    close(output[1]);
    for (i = 0; i < 3 * MANY; i++) {
        ctrd_message_t *message = NULL, *exited = NULL;
        uint32_t code = 0xffffffff;
        uint64_t tag;

        OK(ctrd_queue_next(queue, &soon, &message, &err));
        tag = ctrd_message_tag(message);
        if (ctrd_message_status(message) != CTRD_OK) {
            fprintf(stderr, "call %d: %s\n", (int)tag, ctrd_error_text(ctrd_message_error(message)));
            exit(1);
        }
        if (ctrd_message_kind(message) == CTRD_KIND_EXIT) {
            CHECK(tag == 1000 && ctrd_message_exit_code(message, &code) == 1 && code < MANY);
            CHECK(strcmp(ctrd_message_container_id(message), ids[code]) == 0);
            CHECK(steps[code]++ == 1 && ctrd_message_pid(message) == (uint32_t)pids[code]);
            CHECK(ctrd_message_generation(message) == generations[code]);
        } else if (tag < MANY) {
            CHECK(steps[tag]++ == 0);
            pids[tag] = (int)ctrd_message_pid(message);
            generations[tag] = ctrd_message_generation(message);
            CHECK(pids[tag] > 1 && generations[tag] != 0);
        } else {
            tag -= 100;
            CHECK(tag < MANY && steps[tag]++ == 2);
            OK(ctrd_message_take_message(message, &exited, &err));
            CHECK(ctrd_message_exit_code(exited, &code) == 1 && code == tag);
            CHECK(ctrd_message_tag(exited) == 0);
            ctrd_message_free(exited);
        }
        ctrd_message_free(message);
    }
    is_empty();
    for (i = 0; i < MANY; i++)
        CHECK(read(output[0], line, 2) == 2);
    CHECK(read(output[0], line, 2) == 0);
    close(output[0]);
    ctrd_subscription_free(subscription);
}

/* A cancel handle that is freed right after the call. */
static void cancelled(void)
{
    const char *id = test_create(client, image, "sleep 1000", NULL, 0, NULL);
    ctrd_call_t call = with_tag(1);
    ctrd_cancel_t *cancel = NULL;
    int64_t began;

    OK(ctrd_cancel_new(&cancel, &err));
    call.cancel = cancel;
    OK(ctrd_probe(client, id, NULL, NULL, &call, NULL, &err));
    ctrd_cancel_fire(cancel);
    ctrd_cancel_free(cancel);
    completes(1, CTRD_E_CANCELLED);

    /* Not fired, it changes nothing. */
    OK(ctrd_cancel_new(&cancel, &err));
    call.cancel = cancel;
    OK(ctrd_version(client, &call, NULL, &err));
    OK(ctrd_probe(client, id, NULL, NULL, &call, NULL, &err));
    ctrd_cancel_free(cancel);
    completes(1, CTRD_OK);
    is_empty();

    /* The time of a call counts from its acceptance. */
    call = with_tag(2);
    call.timeout_ms = 200;
    began = test_now_ms();
    OK(ctrd_probe(client, id, NULL, NULL, &call, NULL, &err));
    completes(2, CTRD_E_TIMEOUT);
    CHECK(test_now_ms() - began >= 200);

    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
    completes(1, CTRD_OK);
}

/* What is refused is refused at once, and nothing is submitted. */
static void refusals(void)
{
    ctrd_call_t call = with_tag(1);
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    ctrd_cancel_t *cancel = NULL;
    ctrd_version_info_t *version = (ctrd_version_info_t *)&err;
    ctrd_client_t *closed = test_client();
    ctrd_process_t process = {77, 77, 77};

    REFUSES("out", ctrd_version(client, &call, &version, &err));
    CHECK(version == NULL);
    REFUSES("process_out", ctrd_start_container(client, "x", &call, &process, &err));
    CHECK(process.pid == 77);
    REFUSES("id", ctrd_start_container(client, NULL, &call, NULL, &err));
    REFUSES("client", ctrd_start_container(NULL, "x", &call, NULL, &err));
    REFUSES("queue", ctrd_queue_next(queue, &call, NULL, &err));
    call.timeout_ms = CTRD_POLL;
    REFUSES("timeout_ms", ctrd_version(client, &call, NULL, &err));
    call.timeout_ms = -1;
    FAILS(CTRD_E_TIMEOUT, ctrd_version(client, &call, NULL, &err));
    call.timeout_ms = 0;
    OK(ctrd_cancel_new(&cancel, &err));
    ctrd_cancel_fire(cancel);
    call.cancel = cancel;
    FAILS(CTRD_E_CANCELLED, ctrd_version(client, &call, NULL, &err));
    call.cancel = NULL;
    ctrd_cancel_free(cancel);
    OK(ctrd_client_close(closed, NULL, &err));
    FAILS(CTRD_E_CLOSED, ctrd_version(closed, &call, NULL, &err));
    ctrd_client_free(closed);
    REFUSES("reference", ctrd_pull_image(client, &config, &call, NULL, &err));
    is_empty();

    /* An id that only the operation can judge. */
    OK(ctrd_start_container(client, "../x", &call, NULL, &err));
    completes(1, CTRD_E_INVALID_ARGUMENT);

    REFUSES("threads", ctrd_set_call_threads(0, &err));
    REFUSES("threads", ctrd_set_call_threads(3, &err));
    REFUSES("threads", ctrd_set_call_threads(1025, &err));
}

static int destroyed;

static void on_destroy(void *userdata)
{
    (void)userdata;
    destroyed++;
}

static void on_progress(void *userdata, const ctrd_progress_list_t *list)
{
    (void)userdata;
    (void)list;
}

static int32_t on_recover(void *userdata, const ctrd_container_info_t *info, ctrd_io_t *io)
{
    (void)userdata;
    (void)info;
    (void)io;
    CHECK(!"no callback runs for a submitted call");
    return 0;
}

/* The items of a pull, as the callback of a pull would receive them. */
static void check_progress(const ctrd_progress_list_t *list)
{
    size_t i, len = ctrd_progress_list_len(list);

    CHECK(len >= 1 && ctrd_progress_list_get(list, len) == NULL);
    CHECK(strcmp(ctrd_progress_reference(ctrd_progress_list_get(list, 0)), image) == 0);
    for (i = 0; i < len; i++) {
        const ctrd_progress_t *item = ctrd_progress_list_get(list, i);

        CHECK(ctrd_progress_status(item) >= CTRD_PROGRESS_RESOLVING);
        CHECK(ctrd_progress_status(item) <= CTRD_PROGRESS_EXISTS);
        CHECK(ctrd_progress_offset(item) <= ctrd_progress_total(item));
    }
}

/* Callbacks are refused. A recovery has its outcome, and a pull has messages. */
static void callbacks(void)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    ctrd_call_t call = with_tag(3);
    ctrd_progress_callback_t *progress = NULL;
    ctrd_image_info_t *info = NULL;
    ctrd_message_t *message = NULL;
    int steps = 0;

    REFUSES("io", ctrd_recover_all(client, on_recover, NULL, on_destroy, &call, NULL, &err));
    CHECK(destroyed == 1);
    OK(ctrd_progress_callback_new(on_progress, NULL, on_destroy, &progress, &err));
    config.reference = image;
    config.progress = progress;
    REFUSES("progress", ctrd_pull_image(client, &config, &call, NULL, &err));
    CHECK(destroyed == 1);
    ctrd_progress_callback_free(progress);
    CHECK(destroyed == 2);
    is_empty();

    config.progress = NULL;
    call.namespace_name = "submitted";
    OK(ctrd_pull_image(client, &config, &call, NULL, &err));
    for (;;) {
        OK(ctrd_queue_next(queue, &soon, &message, &err));
        CHECK(ctrd_message_tag(message) == 3);
        if (ctrd_message_kind(message) == CTRD_KIND_DONE)
            break;
        CHECK(ctrd_message_kind(message) == CTRD_KIND_PROGRESS);
        CHECK(strcmp(ctrd_message_topic(message), image) == 0);
        CHECK(strstr(ctrd_message_json(message), image) != NULL);
        check_progress(ctrd_message_progress(message));
        steps++;
        ctrd_message_free(message);
    }
    CHECK(steps > 0 && ctrd_message_progress(message) == NULL);
    OK(ctrd_message_take_image_info(message, &info, &err));
    CHECK(strcmp(ctrd_image_info_name(info), image) == 0);
    ctrd_image_info_free(info);
    ctrd_message_free(message);
    OK(ctrd_remove_image(client, image, CTRD_REMOVE_IMAGE_SYNC, &call, &err));
    completes(3, CTRD_OK);
}

static ctrd_message_t *shared;
static int taken, missed;

static void *take_image(void *unused)
{
    ctrd_image_info_t *info = NULL;
    ctrd_error_t *error = NULL;
    ctrd_status_t status = ctrd_message_take_image_info(shared, &info, &error);

    if (status == CTRD_OK) {
        __sync_fetch_and_add(&taken, 1);
    } else {
        CHECK(status == CTRD_E_FAILED_PRECONDITION && info == NULL);
        __sync_fetch_and_add(&missed, 1);
    }
    ctrd_error_free(error);
    ctrd_image_info_free(info);
    return unused;
}

/* A result is taken by its type, and once. */
static void results(void)
{
    ctrd_call_t call = with_tag(1);
    ctrd_version_info_t *version = (ctrd_version_info_t *)&err;
    ctrd_image_info_t *info = NULL;
    ctrd_message_t *message, *handle;
    pthread_t threads[4];
    int i;

    OK(ctrd_get_image(client, image, &call, NULL, &err));
    message = completed(1, CTRD_OK);
    CHECK(ctrd_message_pid(message) == 0 && ctrd_message_exit_code(message, NULL) == 0);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_message_take_version_info(message, &version, &err));
    CHECK(version == NULL);
    REFUSES("message", ctrd_message_take_image_info(NULL, &info, &err));
    /* It is not lost if there is no place for it. */
    REFUSES("out", ctrd_message_take_image_info(message, NULL, &err));
    handle = ctrd_message_ref(message);
    OK(ctrd_message_take_image_info(handle, &info, &err));
    ctrd_message_free(handle);
    CHECK(strcmp(ctrd_image_info_name(info), image) == 0);
    ctrd_image_info_free(info);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_message_take_image_info(message, &info, &err));
    ctrd_message_free(message);

    OK(ctrd_get_image(client, image, &call, NULL, &err));
    shared = completed(1, CTRD_OK);
    for (i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, take_image, NULL) == 0);
    for (i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(taken == 1 && missed == 3);
    ctrd_message_free(shared);

    /* A failed call has no result, and a function without one has none either. */
    OK(ctrd_get_image(client, "docker.io/library/nothing:1", &call, NULL, &err));
    message = completed(1, CTRD_E_NOT_FOUND);
    CHECK(strcmp(ctrd_error_operation(ctrd_message_error(message)), "get_image") == 0);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_message_take_image_info(message, &info, &err));
    ctrd_message_free(message);

    /* Results that nobody takes go with their message, and with the queue. */
    OK(ctrd_list_images(client, NULL, 0, &call, NULL, &err));
    completes(1, CTRD_OK);
    OK(ctrd_recover_all(client, NULL, NULL, NULL, &call, NULL, &err));
    completes(1, CTRD_OK);
}

/* A client that is opened, used and closed by submitted calls. Nobody takes the second one. */
static void a_client(void)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_subscription_config_t asked = CTRD_SUBSCRIPTION_CONFIG_INIT;
    ctrd_subscription_t *subscription = NULL;
    ctrd_call_t call = with_tag(1);
    ctrd_client_t *opened = NULL;
    ctrd_message_t *message;
    char *state = test_path("state");

    config.address = test_environment("CTRD_TEST_ADDRESS");
    config.state_dir = state;
    OK(ctrd_client_open(&config, &call, NULL, &err));
    message = completed(1, CTRD_OK);
    OK(ctrd_message_take_client(message, &opened, &err));
    ctrd_message_free(message);
    OK(ctrd_client_open(&config, &call, NULL, &err));
    completes(1, CTRD_OK);
    free(state);

    asked.kinds = CTRD_KIND_EVENT;
    asked.tag = 5;
    OK(ctrd_queue_subscribe(queue, opened, &asked, &call, NULL, &err));
    message = completed(1, CTRD_OK);
    OK(ctrd_message_take_subscription(message, &subscription, &err));
    ctrd_message_free(message);
    OK(ctrd_version(opened, &call, NULL, &err));
    completes(1, CTRD_OK);
    OK(ctrd_client_close(opened, &call, &err));
    /* The handle is not needed for the close. */
    message = test_next(queue, CTRD_KIND_CLOSED);
    CHECK(ctrd_message_tag(message) == 5);
    ctrd_message_free(message);
    completes(1, CTRD_OK);
    ctrd_client_free(opened);
    ctrd_subscription_free(subscription);
    is_empty();
}

/* Closing a client inside the callback of its own call waits for that call, if it is submitted. */
static void on_progress_close(void *userdata, const ctrd_progress_list_t *list)
{
    ctrd_client_t *own = userdata;
    ctrd_call_t call = with_tag(9);
    ctrd_error_t *error = NULL;

    (void)list;
    CHECK(ctrd_client_close(own, NULL, &error) == CTRD_E_REENTRANT);
    ctrd_error_free(error);
    CHECK(ctrd_client_close(own, &call, NULL) == CTRD_OK);
}

static void closed_inside_a_callback(void)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    ctrd_client_t *own = test_client();
    ctrd_progress_callback_t *progress = NULL;
    ctrd_status_t status;
    int64_t until = test_now_ms() + 5000;
    ctrd_message_t *message = NULL;

    OK(ctrd_progress_callback_new(on_progress_close, own, NULL, &progress, &err));
    config.reference = image;
    config.progress = progress;
    status = ctrd_pull_image(own, &config, NULL, NULL, NULL);
    CHECK(status == CTRD_OK || status == CTRD_E_CLOSED);
    /* One completion for each time that the callback ran. */
    message = completed(9, CTRD_OK);
    do {
        ctrd_call_t poll_call = CTRD_CALL_INIT;

        ctrd_message_free(message);
        message = NULL;
        poll_call.timeout_ms = 200;
        status = ctrd_queue_next(queue, &poll_call, &message, NULL);
        CHECK(status == CTRD_E_TIMEOUT || ctrd_message_status(message) == CTRD_OK);
    } while (status == CTRD_OK && test_now_ms() < until);
    ctrd_message_free(message);
    ctrd_progress_callback_free(progress);
    ctrd_client_free(own);
}

/* A thousand waits for exits hold no thread and no descriptor, and end when the process does. */
static void many_waits(void)
{
    enum { MANY = 1000 };
    const char *id = test_create(client, image, "sleep 1000", NULL, 0, NULL);
    static char seen[MANY];
    ctrd_call_t call;
    int before, i;

    /* What the first call of each kind makes. */
    call = with_tag(5000);
    OK(ctrd_version(client, &call, NULL, &err));
    completes(5000, CTRD_OK);
    CHECK(ctrd_queue_fd(queue) >= 0);
    before = descriptors();
    for (i = 0; i < MANY; i++) {
        call = with_tag((uint64_t)i);
        OK(ctrd_probe(client, id, NULL, NULL, &call, NULL, &err));
    }
    CHECK(test_threads("ctrd-call") <= 16 && descriptors() <= before);
    /* Others go on meanwhile. */
    call = with_tag(5000);
    OK(ctrd_version(client, &call, NULL, &err));
    completes(5000, CTRD_OK);
    submit_destroy(id, 6000);
    for (i = 0; i < MANY + 1; i++) {
        ctrd_message_t *message = test_next(queue, CTRD_KIND_DONE), *exited = NULL;
        uint64_t tag = ctrd_message_tag(message);

        CHECK(ctrd_message_status(message) == CTRD_OK);
        CHECK(tag == 6000 || (tag < MANY && seen[tag]++ == 0));
        /* Every second result is left to the library. */
        if (i % 2) {
            OK(ctrd_message_take_message(message, &exited, &err));
            CHECK(strcmp(ctrd_message_container_id(exited), id) == 0);
            ctrd_message_free(exited);
        }
        ctrd_message_free(message);
    }
    is_empty();
}

/* A call takes a slot until its completion is fetched. */
static void limits(void)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_queue_config_t queue_config = CTRD_QUEUE_CONFIG_INIT;
    ctrd_queue_t *all = queue;
    ctrd_client_t *own = NULL;
    ctrd_call_t call;
    const char *id;
    char *state = test_path("state");
    int i;

    queue = NULL;
    queue_config.max_calls = 2;
    OK(ctrd_queue_new(&queue_config, &queue, &err));
    call = with_tag(1);
    config.address = test_environment("CTRD_TEST_ADDRESS");
    config.state_dir = state;
    config.max_calls = 3;
    config.reserved = 1;
    REFUSES("reserved", ctrd_client_open(&config, &call, NULL, &err));
    config.reserved = 0;
    for (i = 0; i < 2; i++)
        OK(ctrd_client_open(&config, &call, NULL, &err));
    FAILS(CTRD_E_RESOURCE_EXHAUSTED, ctrd_client_open(&config, &call, NULL, &err));
    for (i = 0; i < 2; i++) {
        ctrd_message_t *message = completed(1, CTRD_OK);

        ctrd_client_free(own);
        OK(ctrd_message_take_client(message, &own, &err));
        ctrd_message_free(message);
    }
    OK(ctrd_client_open(&config, &call, NULL, &err));
    completes(1, CTRD_OK);
    free(state);

    id = test_create(client, image, "sleep 1000", NULL, 0, NULL);
    for (i = 0; i < 3; i++)
        OK(ctrd_container_pid(own, id, &call, NULL, &err));
    FAILS(CTRD_E_RESOURCE_EXHAUSTED, ctrd_container_pid(own, id, &call, NULL, &err));
    /* A wait takes none, and a close must not fail. */
    OK(ctrd_probe(own, id, NULL, NULL, &call, NULL, &err));
    completes(1, CTRD_OK);
    OK(ctrd_container_pid(own, id, &call, NULL, &err));
    FAILS(CTRD_E_RESOURCE_EXHAUSTED, ctrd_container_pid(own, id, &call, NULL, &err));
    for (i = 0; i < 3; i++)
        completes(1, CTRD_OK);
    call.tag = 2;
    OK(ctrd_client_close(own, &call, &err));
    completes(1, CTRD_E_CLOSED);
    completes(2, CTRD_OK);
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
    ctrd_client_free(own);
    ctrd_queue_free(queue);
    queue = all;
}

/* Queue, client and messages are freed in each order, with calls under way and results not taken. */
static void freed(void)
{
    const char *id = test_create(client, image, "sleep 1000", NULL, 0, NULL);
    ctrd_queue_t *all = queue;
    int order, i;

    for (order = 0; order < 6; order++) {
        ctrd_client_t *own = test_client();
        ctrd_message_t *message;
        ctrd_call_t call;

        queue = test_queue();
        call = with_tag(1);
        OK(ctrd_get_image(own, image, &call, NULL, &err));
        message = completed(1, CTRD_OK);
        for (i = 0; i < 20; i++) {
            OK(ctrd_probe(own, id, NULL, NULL, &call, NULL, &err));
            OK(ctrd_container_pids(own, id, &call, NULL, &err));
            OK(ctrd_list_images(own, NULL, 0, &call, NULL, &err));
        }
        /* Some are under way, and some are over. */
        ctrd_message_free(test_next(queue, CTRD_KIND_DONE));
        for (i = 0; i < 3; i++) {
            switch ((order / 2 + (order % 2 ? 3 - i : i)) % 3) {
            case 0:
                ctrd_queue_free(queue);
                break;
            case 1:
                ctrd_client_free(own);
                break;
            case 2:
                ctrd_message_free(message);
                break;
            }
        }
    }
    queue = all;
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
}

/* The calls of a client that is closed are completed before the close is. */
static void closed(void)
{
    const char *id = test_create(client, image, "sleep 1000", NULL, 0, NULL);
    ctrd_client_t *own = test_client();
    ctrd_call_t call = with_tag(1);
    int i;

    for (i = 0; i < 50; i++)
        OK(ctrd_probe(own, id, NULL, NULL, &call, NULL, &err));
    call.tag = 2;
    OK(ctrd_client_close(own, &call, &err));
    for (i = 0; i < 50; i++)
        completes(1, CTRD_E_CLOSED);
    completes(2, CTRD_OK);
    is_empty();
    ctrd_client_free(own);
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
}

/* The descriptor is readable as long as there is a completion to fetch. */
static void readable(void)
{
    ctrd_call_t call = with_tag(1);
    struct pollfd ready;

    ready.fd = ctrd_queue_fd(queue);
    ready.events = POLLIN;
    CHECK(poll(&ready, 1, 0) == 0);
    OK(ctrd_version(client, &call, NULL, &err));
    CHECK(poll(&ready, 1, 30000) == 1);
    CHECK(poll(&ready, 1, 0) == 1);
    completes(1, CTRD_OK);
    CHECK(poll(&ready, 1, 0) == 0);
}

/* The pool's threads end when they have nothing to do. */
static void threads_end(void)
{
    int64_t until = test_now_ms() + 30000;

    while (test_threads("ctrd-call") > 0) {
        CHECK(test_now_ms() < until);
        test_sleep_ms(50);
    }
}

int main(void)
{
    /* Before anything has been submitted a child can use the library. */
    OK(ctrd_set_call_threads(16, &err));
    queue = test_queue();
    in_a_child();
    client = test_client();
    image = test_image(client);
    readable();
    in_order();
    cancelled();
    refusals();
    callbacks();
    results();
    a_client();
    closed_inside_a_callback();
    many_waits();
    limits();
    freed();
    closed();
    threads_end();
    ctrd_client_free(client);
    is_empty();
    ctrd_queue_free(queue);
    return 0;
}
