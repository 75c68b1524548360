/* Hooks: on a thread of the library's and by dispatch, removed from everywhere, destroyed once. */
#include "test.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>

static ctrd_client_t *client;
static const char *image;

/* A hook's userdata: what it was told, what it is to do, and how often it was destroyed. */
struct hook {
    ctrd_client_t *client;
    int told, destroyed, inside;
    pthread_t thread;
    sigset_t blocked;
    ctrd_message_t *kept;
    /* Removed by it, if not 0. */
    uint64_t victim;
    /* It waits for the other to be inside too. */
    struct hook *partner;
    /* It does not return before this is set. */
    int holds, released;
};

static int get(int *value)
{
    return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static void add(int *value)
{
    __atomic_add_fetch(value, 1, __ATOMIC_SEQ_CST);
}

static void wait_for(int *value, int at_least)
{
    int64_t deadline = test_now_ms() + 30000;

    while (get(value) < at_least) {
        CHECK(test_now_ms() < deadline);
        test_sleep_ms(5);
    }
}

/* Hooks run at the same time as the test, and have an error of their own. */
static void must(ctrd_status_t status, ctrd_status_t expected, ctrd_error_t **error, int line)
{
    if (status != expected) {
        fprintf(stderr, "%s:%d: in a hook: %d instead of %d: %s\n", __FILE__, line, status, expected,
                *error ? ctrd_error_text(*error) : "no error");
        exit(1);
    }
    ctrd_error_free(*error);
    *error = NULL;
}

/* In a hook, the call, whose last argument is &error, must give this. */
#define MUST(expected, call) must((call), (expected), &error, __LINE__)

static void on_message(void *userdata, const ctrd_message_t *message)
{
    struct hook *hook = userdata;
    ctrd_error_t *error = NULL;

    CHECK(get(&hook->destroyed) == 0);
    CHECK(ctrd_message_kind(message) == CTRD_KIND_EXIT);
    hook->thread = pthread_self();
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &hook->blocked) == 0);
    ctrd_message_free(hook->kept);
    hook->kept = ctrd_message_ref(message);
    add(&hook->inside);
    if (hook->partner)
        wait_for(&hook->partner->inside, 1);
    if (hook->victim) {
        MUST(CTRD_OK, ctrd_remove_hook(hook->client, hook->victim, NULL, &error));
    }
    while (hook->holds && !get(&hook->released))
        test_sleep_ms(5);
    CHECK(get(&hook->destroyed) == 0);
    add(&hook->told);
}

static void on_destroy(void *userdata)
{
    struct hook *hook = userdata;

    add(&hook->destroyed);
}

/* The end of a hook, which removes it. */
static void on_destroy_remove(void *userdata)
{
    struct hook *hook = userdata;
    ctrd_error_t *error = NULL;

    MUST(CTRD_OK, ctrd_remove_hook(hook->client, hook->victim, NULL, &error));
    add(&hook->destroyed);
}

static uint64_t add_hook(struct hook *hook, const char *id, uint32_t mode)
{
    hook->client = client;
    return test_add_hook(client, CTRD_KIND_EXIT, id, mode, on_message, hook, on_destroy);
}

/* Runs a container to its end, and gives its id. */
static const char *run(const char *command)
{
    const char *id = test_create(client, image, command, NULL, 0, NULL);

    OK(ctrd_probe(client, id, NULL, NULL, &soon, NULL, &err));
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
    return id;
}

static void on_a_thread(void)
{
    struct hook all = {0}, one = {0}, other = {0};
    uint32_t code = 0;
    uint64_t number = add_hook(&all, NULL, CTRD_HOOK_THREAD), removed;
    const char *id = test_create(client, image, "read x", NULL, CTRD_CONTAINER_NO_START, NULL);

    removed = add_hook(&one, id, CTRD_HOOK_THREAD);
    add_hook(&other, "another", CTRD_HOOK_THREAD);
    OK(ctrd_start_container(client, id, NULL, NULL, &err));
    wait_for(&all.told, 1);
    wait_for(&one.told, 1);
    CHECK(!pthread_equal(all.thread, pthread_self()));
    CHECK(sigismember(&all.blocked, SIGTERM) == 1 && sigismember(&all.blocked, SIGCHLD) == 1);
    CHECK(strcmp(ctrd_message_container_id(all.kept), id) == 0);
    CHECK(strcmp(ctrd_message_namespace(all.kept), "default") == 0);
    CHECK(ctrd_message_exit_code(all.kept, &code) == 1 && code == 1);
    CHECK(ctrd_message_seq(all.kept) >= 1 && ctrd_message_dropped(all.kept) == 0);
    CHECK(*ctrd_message_topic(all.kept) == 0 && *ctrd_message_json(all.kept) == 0);
    CHECK(ctrd_message_event_time(all.kept, NULL) == 0);
    CHECK(ctrd_message_seq(one.kept) == ctrd_message_seq(all.kept));
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));

    /* Removed, it is not told any more; what it kept stays. */
    OK(ctrd_remove_hook(client, removed, NULL, &err));
    CHECK(one.destroyed == 1 && all.destroyed == 0);
    FAILS(CTRD_E_NOT_FOUND, ctrd_remove_hook(client, removed, NULL, &err));
    run("exit 0");
    wait_for(&all.told, 2);
    CHECK(one.told == 1 && one.destroyed == 1 && other.told == 0);
    OK(ctrd_remove_hook(client, number, NULL, &err));
    CHECK(strcmp(ctrd_message_container_id(one.kept), id) == 0);
    ctrd_message_free(one.kept);
    ctrd_message_free(all.kept);

    /* The third goes with the client. */
    ctrd_client_free(client);
    CHECK(all.destroyed == 1 && other.destroyed == 1);
    client = test_client();
}

static int readable(int fd, int timeout_ms)
{
    struct pollfd descriptor;

    descriptor.fd = fd;
    descriptor.events = POLLIN;
    return poll(&descriptor, 1, timeout_ms) == 1;
}

static void by_dispatch(void)
{
    struct hook hook = {0};
    uint64_t number = add_hook(&hook, NULL, CTRD_HOOK_DISPATCH);
    uint32_t ran = 77, mask = 0;
    int fd = ctrd_dispatch_fd(client), i;

    CHECK(fd > 2 && fd == ctrd_dispatch_fd(client));
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    OK(ctrd_dispatch(client, 0, &ran, &err));
    CHECK(ran == 0 && !readable(fd, 0));

    run("exit 1");
    run("exit 2");
    run("exit 3");
    CHECK(readable(fd, 10000) && hook.told == 0);
    OK(ctrd_dispatch(client, 1, &ran, &err));
    CHECK(ran == 1 && hook.told == 1 && readable(fd, 0));
    CHECK(pthread_equal(hook.thread, pthread_self()));
    for (i = 0; i < 100 && hook.told < 3; i++) {
        CHECK(readable(fd, 10000));
        OK(ctrd_dispatch(client, 0, NULL, &err));
    }
    CHECK(ctrd_message_exit_code(hook.kept, &mask) == 1 && mask == 3);
    CHECK(hook.told == 3 && !readable(fd, 0));

    /* What is left when it is removed is not told. */
    run("exit 4");
    CHECK(readable(fd, 10000));
    OK(ctrd_remove_hook(client, number, NULL, &err));
    CHECK(hook.destroyed == 1);
    OK(ctrd_dispatch(client, 0, &ran, &err));
    CHECK(ran == 0 && hook.told == 3 && !readable(fd, 0));
    ctrd_message_free(hook.kept);
}

/* A namespace of its own, because containers of other topics would be recovered too. */
static char namespace_name[64];

static void on_nothing(void *userdata, const ctrd_message_t *message)
{
    (void)userdata;
    (void)message;
}

static int32_t no_streams(void *userdata, const ctrd_container_info_t *info, ctrd_io_t *io)
{
    (void)userdata;
    (void)info;
    (void)io;
    return 0;
}

static void call_for_the_ended(const char *id)
{
    ctrd_message_t *message = NULL;
    ctrd_snapshot_info_t *snapshot = NULL;

    OK(ctrd_probe(client, id, NULL, NULL, &soon, &message, &err));
    CHECK(strcmp(ctrd_message_container_id(message), id) == 0);
    ctrd_message_free(message);
    OK(ctrd_get_snapshot(client, NULL, id, NULL, &snapshot, &err));
    ctrd_snapshot_info_free(snapshot);
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_remove_snapshot(client, NULL, id, NULL, &err));
}

static void call_for_images(void)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    ctrd_image_info_t *found = NULL;
    ctrd_image_info_list_t *images = NULL;

    OK(ctrd_remove_image(client, image, CTRD_REMOVE_IMAGE_SYNC, NULL, &err));
    config.reference = image;
    OK(ctrd_pull_image(client, &config, NULL, NULL, &err));
    OK(ctrd_get_image(client, image, NULL, &found, &err));
    ctrd_image_info_free(found);
    OK(ctrd_list_images(client, NULL, 0, NULL, &images, &err));
    CHECK(ctrd_image_info_list_len(images) == 1);
    ctrd_image_info_list_free(images);
}

static void call_from_another_client(void)
{
    ctrd_client_t *other = test_client_in(namespace_name);
    ctrd_version_info_t *version = NULL;
    ctrd_recovery_list_t *recovered = NULL;

    OK(ctrd_version(other, NULL, &version, &err));
    ctrd_version_info_free(version);
    OK(ctrd_recover_all(other, no_streams, NULL, NULL, NULL, &recovered, &err));
    CHECK(ctrd_recovery_list_len(recovered) == 1);
    CHECK(ctrd_recovery_state(ctrd_recovery_list_get(recovered, 0)) == CTRD_RECOVERY_RUNNING);
    ctrd_recovery_list_free(recovered);
    OK(ctrd_client_close(other, NULL, &err));
    FAILS(CTRD_E_CLOSED, ctrd_version(other, NULL, &version, &err));
    ctrd_client_free(other);
}

static void call_for_what_runs(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    const char *id = test_create(client, image, "sleep 1000", NULL, CTRD_CONTAINER_NO_START, NULL);
    ctrd_cancel_t *cancel = NULL;
    ctrd_pid_list_t *pids = NULL;
    ctrd_process_t process = {0, 0, 0};
    uint32_t same = 0;

    OK(ctrd_start_container(client, id, NULL, &process, &err));
    OK(ctrd_container_pid(client, id, NULL, &same, &err));
    OK(ctrd_container_pids(client, id, NULL, &pids, &err));
    CHECK(process.pid != 0 && process.pid == same && ctrd_pid_list_len(pids) >= 1);
    ctrd_pid_list_free(pids);
    OK(ctrd_recover_container(client, id, NULL, NULL, NULL, &err));
    OK(ctrd_cancel_new(&cancel, &err));
    ctrd_cancel_fire(cancel);
    call.cancel = cancel;
    FAILS(CTRD_E_CANCELLED, ctrd_probe(client, id, NULL, NULL, &call, NULL, &err));
    ctrd_cancel_free(cancel);
    call_from_another_client();
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
}

static void call_for_a_daemon(void)
{
    ctrd_daemon_config_t config = CTRD_DAEMON_CONFIG_INIT;
    ctrd_daemon_t *daemon = NULL;
    char *directory = test_path("private");

    config.directory = directory;
    OK(ctrd_daemon_start(&config, NULL, &daemon, &err));
    OK(ctrd_daemon_stop(daemon, NULL, &err));
    ctrd_daemon_free(daemon);
    free(directory);
}

/* A call that is submitted inside a hook, and whose completion is awaited there. */
static void call_submitted(ctrd_queue_t *queue)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_message_t *next;
    int done = 0;

    call.queue = queue;
    OK(ctrd_version(client, &call, NULL, &err));
    while (!done) {
        OK(ctrd_queue_next(queue, &soon, &next, &err));
        done = ctrd_message_kind(next) == CTRD_KIND_DONE;
        CHECK(!done || ctrd_message_status(next) == CTRD_OK);
        ctrd_message_free(next);
    }
}

/* A hook may call everything but dispatch. The test only waits meanwhile: err is the hook's. */
static void on_exit_call_all(void *userdata, const ctrd_message_t *message)
{
    struct hook *hook = userdata;
    ctrd_counters_t counters = CTRD_COUNTERS_INIT;
    ctrd_hook_config_t events = CTRD_HOOK_CONFIG_INIT;
    ctrd_subscription_t *subscription;
    ctrd_queue_t *queue;
    uint64_t numbers[3] = {0};
    char text[128], *json = NULL;
    const char *filter = text;
    int i;

    call_for_the_ended(ctrd_message_container_id(message));
    call_for_images();

    sprintf(text, "topic==\"/tasks/exit\",namespace==\"%s\"", namespace_name);
    numbers[0] = test_add_hook(client, CTRD_KIND_EXIT, NULL, 0, on_nothing, NULL, NULL);
    numbers[1] = test_add_hook(client, CTRD_KIND_EXEC_EXIT, NULL, 0, on_nothing, NULL, NULL);
    events.kinds = CTRD_KIND_EVENT;
    events.filters = &filter;
    events.filters_len = 1;
    OK(ctrd_add_hook(client, &events, on_nothing, NULL, NULL, NULL, &numbers[2], &err));
    queue = test_queue();
    subscription = test_subscribe(queue, client, CTRD_KIND_EXIT | CTRD_KIND_EVENT, filter, 0);
    call_for_what_runs();
    call_submitted(queue);
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
    for (i = 0; i < 3; i++)
        OK(ctrd_remove_hook(client, numbers[i], NULL, &err));

    /* Its containerd is watched with a pidfd, which valgrind does not know. */
    if (getenv("CTRD_TEST_SLOW") == NULL)
        call_for_a_daemon();
    OK(ctrd_default_spec(NULL, "id", &json, &err));
    ctrd_string_free(json);
    OK(ctrd_client_counters(client, &counters, &err));
    CHECK(counters.outstanding == 0 && ctrd_dispatch_fd(client) > 2);
    FAILS(CTRD_E_REENTRANT, ctrd_dispatch(client, 0, NULL, &err));
    add(&hook->told);
}

static void that_calls(void)
{
    struct hook hook = {0};
    uint64_t number = 0;
    const char *id;
    uint32_t mode;

    ctrd_client_free(client);
    sprintf(namespace_name, "hooks-%ld", (long)getpid());
    client = test_client_in(namespace_name);
    test_image(client);
    for (mode = CTRD_HOOK_THREAD; mode <= CTRD_HOOK_DISPATCH; mode++) {
        memset(&hook, 0, sizeof hook);
        id = test_create(client, image, "exit 0", NULL, CTRD_CONTAINER_NO_START, NULL);
        number = test_add_hook(client, CTRD_KIND_EXIT, id, mode, on_exit_call_all, &hook, on_destroy);
        OK(ctrd_start_container(client, id, NULL, NULL, &err));
        if (mode == CTRD_HOOK_DISPATCH) {
            CHECK(readable(ctrd_dispatch_fd(client), 30000));
            OK(ctrd_dispatch(client, 0, NULL, &err));
        }
        wait_for(&hook.told, 1);
        OK(ctrd_remove_hook(client, number, NULL, &err));
        CHECK(hook.destroyed == 1);
    }
    OK(ctrd_remove_image(client, image, CTRD_REMOVE_IMAGE_SYNC, NULL, &err));
    ctrd_client_free(client);
    client = test_client();
}

static void *release_later(void *userdata)
{
    struct hook *hook = userdata;

    test_sleep_ms(100);
    add(&hook->released);
    return NULL;
}

/* Removing waits for a hook that runs, unless it is done from inside of one. */
static void removal(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    struct hook slow = {0}, itself = {0}, left = {0}, right = {0};
    uint64_t number = add_hook(&slow, NULL, CTRD_HOOK_THREAD);
    pthread_t thread;
    int64_t began;

    slow.holds = 1;
    run("exit 0");
    wait_for(&slow.inside, 1);
    call.timeout_ms = 100;
    began = test_now_ms();
    FAILS(CTRD_E_TIMEOUT, ctrd_remove_hook(client, number, &call, &err));
    CHECK(test_now_ms() - began >= 100);
    CHECK(get(&slow.destroyed) == 0 && get(&slow.told) == 0);
    /* It is not started again. */
    run("exit 0");
    add(&slow.released);
    wait_for(&slow.destroyed, 1);
    CHECK(slow.told == 1 && slow.inside == 1);
    FAILS(CTRD_E_NOT_FOUND, ctrd_remove_hook(client, number, NULL, &err));
    ctrd_message_free(slow.kept);

    /* The barrier. */
    memset(&slow, 0, sizeof slow);
    number = add_hook(&slow, NULL, CTRD_HOOK_THREAD);
    slow.holds = 1;
    run("exit 0");
    wait_for(&slow.inside, 1);
    CHECK(pthread_create(&thread, NULL, release_later, &slow) == 0);
    OK(ctrd_remove_hook(client, number, NULL, &err));
    CHECK(slow.told == 1 && slow.destroyed == 1);
    CHECK(pthread_join(thread, NULL) == 0);
    ctrd_message_free(slow.kept);

    /* From inside of itself. */
    itself.victim = add_hook(&itself, NULL, CTRD_HOOK_THREAD);
    run("exit 0");
    wait_for(&itself.destroyed, 1);
    CHECK(itself.told == 1);
    ctrd_message_free(itself.kept);

    /* From inside of its end. */
    memset(&itself, 0, sizeof itself);
    itself.client = client;
    itself.victim = test_add_hook(client, CTRD_KIND_EXIT, NULL, 0, on_message, &itself,
                                  on_destroy_remove);
    OK(ctrd_remove_hook(client, itself.victim, NULL, &err));
    CHECK(itself.destroyed == 1);

    /* Each from inside of the other. */
    left.partner = &right;
    right.partner = &left;
    right.victim = add_hook(&left, NULL, CTRD_HOOK_THREAD);
    left.victim = add_hook(&right, NULL, CTRD_HOOK_THREAD);
    run("exit 0");
    wait_for(&left.destroyed, 1);
    wait_for(&right.destroyed, 1);
    CHECK(left.told == 1 && right.told == 1);
    ctrd_message_free(left.kept);
    ctrd_message_free(right.kept);
}

/* Adding this hook must be refused, and destroy its userdata once. */
static void refuses(const char *argument, ctrd_client_t *of, const ctrd_hook_config_t *config,
                    ctrd_message_fn callback, const ctrd_call_t *call)
{
    struct hook hook = {0};
    uint64_t number = 77;

    REFUSES(argument, ctrd_add_hook(of, config, callback, &hook, on_destroy, call,
                                    call && call->queue ? NULL : &number, &err));
    CHECK(hook.destroyed == 1 && hook.told == 0 && number == 77);
}

/* A hook that is not added: its userdata is destroyed as well, once. */
static void refusals(void)
{
    ctrd_hook_config_t config = CTRD_HOOK_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    const char *filters[2] = {"topic==x", "topic=="};
    struct hook hook = {0};
    ctrd_cancel_t *cancel = NULL;
    uint64_t number = 77;

    refuses("config", client, NULL, on_message, NULL);
    refuses("kinds", client, &config, on_message, NULL);
    config.kinds = 0x80000000;
    refuses("kinds", client, &config, on_message, NULL);
    config.kinds = CTRD_KIND_EXIT | CTRD_KIND_DONE;
    refuses("kinds", client, &config, on_message, NULL);
    config.kinds = CTRD_KIND_EXIT | CTRD_KIND_EXEC_EXIT;
    refuses("client", NULL, &config, on_message, NULL);
    refuses("callback", client, &config, NULL, NULL);
    config.mode = 2;
    refuses("mode", client, &config, on_message, NULL);
    config.mode = CTRD_HOOK_DISPATCH;
    config.id = "\xff";
    refuses("id", client, &config, on_message, NULL);
    config.id = "../x";
    refuses("id", client, &config, on_message, NULL);
    config.id = "";
    refuses("id", client, &config, on_message, NULL);
    config.id = NULL;
    config.exec_id = "../x";
    refuses("exec_id", client, &config, on_message, NULL);
    config.exec_id = NULL;
    config.concurrency = 17;
    refuses("concurrency", client, &config, on_message, NULL);
    config.concurrency = 0;
    config.reserved = 1;
    refuses("reserved", client, &config, on_message, NULL);
    config.reserved = 0;
    config.reserved_2 = 1;
    refuses("reserved_2", client, &config, on_message, NULL);
    config.reserved_2 = 0;
    config.filters_len = 1;
    refuses("filters", client, &config, on_message, NULL);
    config.filters = filters;
    refuses("filters", client, &config, on_message, NULL);
    config.kinds = CTRD_KIND_EVENT;
    config.filters_len = 2;
    refuses("filters[1]", client, &config, on_message, NULL);
    config.filters_len = 0;
    call.reserved = 1;
    refuses("reserved", client, &config, on_message, &call);
    call.reserved = 0;
    /* Nobody runs a callback for a submitted call. */
    call.queue = test_queue();
    refuses("callback", client, &config, on_message, &call);
    ctrd_queue_free(call.queue);
    call.queue = NULL;

    call.timeout_ms = -77;
    FAILS(CTRD_E_TIMEOUT, ctrd_add_hook(client, &config, on_message, &hook, on_destroy, &call,
                                        &number, &err));
    CHECK(hook.destroyed == 1);
    call.timeout_ms = 0;
    /* With everything right, but cancelled: the hook was added already. */
    OK(ctrd_cancel_new(&cancel, &err));
    ctrd_cancel_fire(cancel);
    call.cancel = cancel;
    FAILS(CTRD_E_CANCELLED, ctrd_add_hook(client, &config, on_message, &hook, on_destroy, &call,
                                          &number, &err));
    CHECK(hook.destroyed == 2);
    ctrd_cancel_free(cancel);

    CHECK(number == 77 && hook.told == 0);
    REFUSES("client", ctrd_remove_hook(NULL, 1, NULL, &err));
    REFUSES("client", ctrd_dispatch(NULL, 0, NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_remove_hook(client, 0, NULL, &err));
    CHECK(ctrd_dispatch_fd(NULL) == -1);
}

/* Closing waits for a hook that runs, and freeing does. */
static void closing(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_hook_config_t config = CTRD_HOOK_CONFIG_INIT;
    struct hook slow = {0}, quiet = {0}, exits = {0};
    pthread_t thread;
    uint64_t number = 0;

    add_hook(&slow, NULL, CTRD_HOOK_THREAD);
    add_hook(&quiet, NULL, CTRD_HOOK_DISPATCH);
    test_add_hook(client, CTRD_KIND_EXEC_EXIT, NULL, CTRD_HOOK_THREAD, on_message, &exits, on_destroy);
    slow.holds = 1;
    run("exit 0");
    wait_for(&slow.inside, 1);
    call.timeout_ms = 100;
    FAILS(CTRD_E_TIMEOUT, ctrd_client_close(client, &call, &err));
    CHECK(get(&slow.destroyed) == 0 && quiet.destroyed == 1 && exits.destroyed == 1);
    config.kinds = CTRD_KIND_EXIT;
    FAILS(CTRD_E_CLOSED, ctrd_add_hook(client, &config, on_message, &quiet, on_destroy, NULL, &number,
                                       &err));
    CHECK(quiet.destroyed == 2 && number == 0);
    OK(ctrd_dispatch(client, 0, NULL, &err));

    CHECK(pthread_create(&thread, NULL, release_later, &slow) == 0);
    ctrd_client_free(client);
    CHECK(slow.told == 1 && slow.destroyed == 1 && quiet.told == 0 && exits.told == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    ctrd_message_free(slow.kept);

    /* Closed with nothing in the way. */
    memset(&quiet, 0, sizeof quiet);
    client = test_client();
    add_hook(&quiet, NULL, CTRD_HOOK_THREAD);
    OK(ctrd_client_close(client, NULL, &err));
    CHECK(quiet.destroyed == 1);
    ctrd_client_free(client);
    CHECK(quiet.destroyed == 1);
}

static void on_exit_free(void *userdata, const ctrd_message_t *message)
{
    struct hook *hook = userdata;

    CHECK(ctrd_message_kind(message) == CTRD_KIND_EXIT);
    ctrd_client_free(hook->client);
    CHECK(get(&hook->destroyed) == 0);
    add(&hook->told);
}

/* A client may be freed from inside of a hook of its own, wherever that runs. */
static void freed_from_inside(void)
{
    uint32_t mode;

    client = test_client();
    for (mode = CTRD_HOOK_THREAD; mode <= CTRD_HOOK_DISPATCH; mode++) {
        struct hook hook = {0}, other = {0};
        ctrd_client_t *own = test_client();
        struct pollfd ready;
        uint32_t ran = 0;
        const char *id;

        hook.client = own;
        test_add_hook(own, CTRD_KIND_EXIT, NULL, mode, on_exit_free, &hook, on_destroy);
        if (mode == CTRD_HOOK_DISPATCH)
            test_add_hook(own, CTRD_KIND_EXIT, NULL, mode, on_message, &other, on_destroy);
        id = test_create(own, image, "sleep 0.5", NULL, 0, NULL);
        if (mode == CTRD_HOOK_DISPATCH) {
            ready.fd = ctrd_dispatch_fd(own);
            ready.events = POLLIN;
            CHECK(poll(&ready, 1, 30000) == 1);
            OK(ctrd_dispatch(own, 0, &ran, &err));
            CHECK(ran == 1 && other.told == 0 && other.destroyed == 1);
        }
        wait_for(&hook.destroyed, 1);
        CHECK(hook.told == 1);
        OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
    }
    ctrd_client_free(client);
}

/* What hooks are busy with while their client is freed, and whether it is. */
static const char *running, *stubborn;
static int freed;

/* The client must be there as long as the hook runs. */
static void use(struct hook *hook)
{
    ctrd_counters_t counters = CTRD_COUNTERS_INIT;
    ctrd_error_t *error = NULL;

    MUST(CTRD_OK, ctrd_client_counters(hook->client, &counters, &error));
    CHECK(get(&freed) == 0);
    add(&hook->told);
}

static void on_exit_probe(void *userdata, const ctrd_message_t *message)
{
    struct hook *hook = userdata;
    ctrd_error_t *error = NULL;

    (void)message;
    add(&hook->inside);
    MUST(CTRD_E_CLOSED, ctrd_probe(hook->client, running, NULL, NULL, NULL, NULL, &error));
    use(hook);
}

static void on_exit_end_stubborn(void *userdata, const ctrd_message_t *message)
{
    struct hook *hook = userdata;
    ctrd_destroy_config_t config = CTRD_DESTROY_CONFIG_INIT;
    ctrd_error_t *error = NULL;

    (void)message;
    add(&hook->inside);
    config.grace_ms = 2000;
    MUST(CTRD_E_CLOSED, ctrd_destroy_container(hook->client, stubborn, &config, NULL, NULL, &error));
    use(hook);
}

/* Freeing waits for hooks that are inside calls with the same client: they may use it till then. */
static void freed_while_hooks_call(void)
{
    struct hook probes = {0}, destroys = {0};
    ctrd_client_t *own = test_client();
    ctrd_counters_t counters = CTRD_COUNTERS_INIT;
    ctrd_io_t io = CTRD_IO_INIT;
    const char *id;
    char byte;
    int out[2];

    CHECK(pipe2(out, O_CLOEXEC) == 0);
    io.stdout_kind = CTRD_IO_FD;
    io.stdout_fd = out[1];
    client = test_client();
    running = test_create(client, image, "sleep 1000", NULL, 0, NULL);
    stubborn = test_create(client, image, "trap 'echo t' TERM; while :; do sleep 0.1; done", &io, 0,
                           NULL);
    id = test_create(own, image, "exit 0", NULL, CTRD_CONTAINER_NO_START, NULL);
    probes.client = destroys.client = own;
    test_add_hook(own, CTRD_KIND_EXIT, id, CTRD_HOOK_THREAD, on_exit_probe, &probes, on_destroy);
    test_add_hook(own, CTRD_KIND_EXIT, id, CTRD_HOOK_THREAD, on_exit_end_stubborn, &destroys,
                  on_destroy);
    OK(ctrd_start_container(own, id, NULL, NULL, &err));
    wait_for(&probes.inside, 1);
    wait_for(&destroys.inside, 1);
    /* Both calls are under way once both containers are watched, and the one was sent a signal. */
    CHECK(read(out[0], &byte, 1) == 1 && byte == 't');
    while (counters.outstanding < 2)
        OK(ctrd_client_counters(own, &counters, &err));
    ctrd_client_free(own);
    add(&freed);
    CHECK(probes.told == 1 && probes.destroyed == 1);
    CHECK(destroys.told == 1 && destroys.destroyed == 1);
    OK(ctrd_destroy_container(client, stubborn, NULL, NULL, NULL, &err));
    OK(ctrd_destroy_container(client, running, NULL, NULL, NULL, &err));
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
    CHECK(close(out[0]) == 0 && close(out[1]) == 0);
    ctrd_client_free(client);
}

/* A hook that does not return is left to end by itself, after 10 s. */
static void freed_while_a_hook_hangs(void)
{
    struct hook slow = {0};
    int64_t began;

    client = test_client();
    slow.holds = 1;
    add_hook(&slow, NULL, CTRD_HOOK_THREAD);
    run("exit 0");
    wait_for(&slow.inside, 1);
    began = test_now_ms();
    ctrd_client_free(client);
    began = test_now_ms() - began;
    CHECK(began >= 10000 && began < 15000);
    CHECK(get(&slow.destroyed) == 0);
    add(&slow.released);
    wait_for(&slow.destroyed, 1);
    ctrd_message_free(slow.kept);
}

int main(void)
{
    client = test_client();
    image = test_image(client);
    on_a_thread();
    by_dispatch();
    that_calls();
    removal();
    refusals();
    closing();
    freed_from_inside();
    freed_while_hooks_call();
    freed_while_a_hook_hangs();
    return 0;
}
