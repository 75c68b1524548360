/* Containers outlive their program's client, and a later one takes them over; and what is removed of
 * them by itself. */
#include "test.h"

#include <pthread.h>

static ctrd_client_t *client;
static const char *image;
static ctrd_pid_list_t *no_pids;

/* A namespace of its own, because containers of other topics would be recovered too. */
static char namespace_name[64];

/* What the callback of a recovery does for which container. */
struct plan {
    const char *talking, *refused, *bad;
    int in, out, given, asked, destroyed;
};

static int32_t on_recover(void *userdata, const ctrd_container_info_t *info, ctrd_io_t *io)
{
    struct plan *plan = userdata;
    const char *id = ctrd_container_info_id(info);

    plan->asked++;
    CHECK(io->size >= sizeof *io && io->stdin_kind == 0 && io->stderr_path == NULL);
    CHECK(ctrd_client_close(client, NULL, NULL) == CTRD_E_REENTRANT);
    if (plan->talking && strcmp(id, plan->talking) == 0) {
        io->stdin_kind = io->stdout_kind = CTRD_IO_FD;
        io->stdin_fd = plan->in;
        io->stdout_fd = plan->out;
    }
    if (plan->refused && strcmp(id, plan->refused) == 0) {
        io->stdout_kind = CTRD_IO_FD_TAKE;
        CHECK((io->stdout_fd = plan->given = dup(plan->out)) >= 0);
    }
    if (plan->bad && strcmp(id, plan->bad) == 0) {
        io->stdout_kind = CTRD_IO_FD;
        io->stdout_fd = 9999;
    }
    return plan->refused && strcmp(id, plan->refused) == 0 ? -5 : 0;
}

static void on_destroy(void *userdata)
{
    struct plan *plan = userdata;

    plan->destroyed++;
}

/* What became of one container. */
static const ctrd_recovery_t *find(const ctrd_recovery_list_t *list, const char *id)
{
    size_t i;

    for (i = 0; i < ctrd_recovery_list_len(list); i++) {
        if (strcmp(ctrd_recovery_id(ctrd_recovery_list_get(list, i)), id) == 0)
            return ctrd_recovery_list_get(list, i);
    }
    CHECK(!"the container was not looked at");
    return NULL;
}

static void has_state(const ctrd_recovery_list_t *list, const char *id, uint32_t state)
{
    CHECK(ctrd_recovery_state(find(list, id)) == state);
}

static void read_line(int fd, const char *expected)
{
    char text[64] = "";
    size_t length = 0;

    while (length < strlen(expected)) {
        ssize_t count = read(fd, text + length, sizeof text - 1 - length);

        CHECK(count > 0);
        length += (size_t)count;
    }
    CHECK(strcmp(text, expected) == 0);
}

static uint32_t code_of(ctrd_message_t *message)
{
    uint32_t code = 0xffffffff;

    CHECK(ctrd_message_exit_code(message, &code) == 1);
    ctrd_message_free(message);
    return code;
}

static void another_client(void)
{
    ctrd_client_free(client);
    client = test_client_in(namespace_name);
}

static void all(void)
{
    struct plan plan = {0};
    ctrd_io_t io = CTRD_IO_INIT;
    ctrd_recovery_list_t *list = NULL;
    const ctrd_recovery_t *one;
    ctrd_message_t *message = NULL;
    ctrd_subscription_t *subscription;
    ctrd_queue_t *queue;
    const char *talking, *ended, *silent;
    uint32_t code = 0;
    int in[2], out[2];

    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    io.stdin_kind = io.stdout_kind = CTRD_IO_FD;
    io.stdin_fd = in[0];
    io.stdout_fd = out[1];
    talking = test_create(client, image, "echo one; read x; echo got $x; exit 6", &io, 0, NULL);
    silent = test_create(client, image, "sleep 1000", NULL, 0, NULL);
    ended = test_create(client, image, "exit 4", NULL, 0, NULL);
    read_line(out[0], "one\n");
    OK(ctrd_probe(client, ended, NULL, NULL, &soon, NULL, &err));
    another_client();

    plan.talking = plan.bad = talking;
    plan.in = in[0];
    plan.out = out[1];
    plan.refused = silent;
    queue = test_queue();
    subscription = test_subscribe(queue, client, CTRD_KIND_EXIT, NULL, 0);
    OK(ctrd_recover_all(client, on_recover, &plan, on_destroy, NULL, &list, &err));
    CHECK(plan.asked == 3 && plan.destroyed == 1 && ctrd_recovery_list_len(list) == 3);
    /* The callback gave a descriptor away before it refused the container. */
    CHECK(plan.given > 2 && fcntl(plan.given, F_GETFD) == -1);
    one = find(list, talking);
    CHECK(ctrd_recovery_state(one) == CTRD_RECOVERY_FAILED);
    CHECK(ctrd_recovery_pid(one) == 0 && ctrd_recovery_generation(one) != 0);
    CHECK(strncmp(ctrd_error_message(ctrd_recovery_error(one)), "stdout_fd: ", 11) == 0);
    CHECK(strcmp(ctrd_error_subject(ctrd_recovery_error(one)), talking) == 0);
    one = find(list, silent);
    CHECK(ctrd_recovery_state(one) == CTRD_RECOVERY_FAILED);
    CHECK(ctrd_error_status(ctrd_recovery_error(one)) == CTRD_E_CANCELLED);
    one = find(list, ended);
    CHECK(ctrd_recovery_state(one) == CTRD_RECOVERY_ENDED);
    CHECK(ctrd_recovery_exit_code(one, &code) == 1 && code == 4);
    CHECK(ctrd_recovery_error(one) == NULL);
    CHECK(ctrd_recovery_list_get(list, 3) == NULL);
    ctrd_recovery_list_free(list);
    OK(ctrd_queue_next(queue, &soon, &message, &err));
    CHECK(strcmp(ctrd_message_container_id(message), ended) == 0);
    CHECK(ctrd_message_origin(message) == CTRD_ORIGIN_RECOVERED);
    CHECK(code_of(message) == 4);

    /* What was left as it was is taken over now. */
    plan.bad = plan.refused = NULL;
    OK(ctrd_recover_all(client, on_recover, &plan, on_destroy, NULL, &list, &err));
    CHECK(plan.asked == 6 && plan.destroyed == 2);
    has_state(list, talking, CTRD_RECOVERY_RUNNING);
    has_state(list, silent, CTRD_RECOVERY_RUNNING);
    ctrd_recovery_list_free(list);
    CHECK(write(in[1], "two\n", 4) == 4);
    read_line(out[0], "got two\n");
    OK(ctrd_queue_next(queue, &soon, &message, &err));
    CHECK(strcmp(ctrd_message_container_id(message), talking) == 0 && code_of(message) == 6);
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);

    /* Without a callback, and without the list. */
    another_client();
    OK(ctrd_recover_all(client, NULL, &plan, on_destroy, NULL, NULL, &err));
    CHECK(plan.asked == 6 && plan.destroyed == 3);
    OK(ctrd_destroy_container(client, talking, NULL, NULL, &message, &err));
    CHECK(code_of(message) == 6);
    OK(ctrd_destroy_container(client, silent, &at_once, NULL, NULL, &err));
    OK(ctrd_destroy_container(client, ended, NULL, NULL, NULL, &err));
    OK(ctrd_recover_all(client, on_recover, &plan, NULL, NULL, &list, &err));
    CHECK(plan.asked == 6 && ctrd_recovery_list_len(list) == 0);
    ctrd_recovery_list_free(list);
    close(in[0]);
    close(in[1]);
    close(out[0]);
    close(out[1]);
}

/* Recovers a container, blocking or submitted, and compares what became of it with its info. */
static void recover(const char *id, int is_submitted, uint32_t state, uint32_t code)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_container_info_t *info = NULL;
    ctrd_recovery_t *recovery = NULL;
    ctrd_message_t *message;
    uint32_t its_code = 77;

    if (is_submitted) {
        call.queue = test_queue();
        OK(ctrd_recover_container(client, id, NULL, &call, NULL, &err));
        message = test_next(call.queue, CTRD_KIND_DONE);
        OK(ctrd_message_take_recovery(message, &recovery, &err));
        ctrd_message_free(message);
        ctrd_queue_free(call.queue);
    } else {
        OK(ctrd_recover_container(client, id, NULL, NULL, &recovery, &err));
    }
    OK(ctrd_get_container(client, id, NULL, &info, &err));
    CHECK(strcmp(ctrd_recovery_id(recovery), id) == 0);
    CHECK(ctrd_recovery_state(recovery) == state && ctrd_recovery_error(recovery) == NULL);
    CHECK(ctrd_recovery_pid(recovery) != 0);
    CHECK(ctrd_recovery_pid(recovery) == ctrd_container_info_pid(info));
    CHECK(ctrd_recovery_generation(recovery) == ctrd_container_info_generation(info));
    CHECK(ctrd_recovery_exit_code(recovery, &its_code) == (state == CTRD_RECOVERY_ENDED));
    CHECK(its_code == code);
    ctrd_container_info_free(info);
    ctrd_recovery_free(recovery);
}

/* Each state of a container: created, running, ended, without a task, gone. */
static void states(void)
{
    const char *id = test_create(client, image, "read x", NULL, CTRD_CONTAINER_NO_START, NULL);
    char command[256];
    int way;

    for (way = 0; way <= 1; way++) {
        another_client();
        recover(id, way, CTRD_RECOVERY_CREATED, 77);
    }
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
    id = test_create(client, image, "sleep 1000", NULL, 0, NULL);
    for (way = 0; way <= 1; way++) {
        another_client();
        recover(id, way, CTRD_RECOVERY_RUNNING, 77);
        recover(id, way, CTRD_RECOVERY_RUNNING, 77);
    }
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
    id = test_create(client, image, "exit 9", NULL, 0, NULL);
    OK(ctrd_probe(client, id, NULL, NULL, &soon, NULL, &err));
    for (way = 0; way <= 1; way++) {
        another_client();
        recover(id, way, CTRD_RECOVERY_ENDED, 9);
    }
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
    CHECK(ctrd_recover_container(client, id, NULL, NULL, NULL, &err) == CTRD_E_NOT_FOUND);
    CHECK(ctrd_error_reason(err) == CTRD_REASON_NO_CONTAINER);
    ctrd_error_free(err);

    /* Another program has a container without a task, and labels it as ours. */
    snprintf(command, sizeof command,
             "ctr -a %s -n %s containers create --label io.ctrd.owner=ctrd %s no-task /bin/true",
             test_environment("CTRD_TEST_ADDRESS"), namespace_name, image);
    CHECK(system(command) == 0);
    CHECK(ctrd_recover_container(client, "no-task", NULL, NULL, NULL, &err) == CTRD_E_NOT_FOUND);
    CHECK(ctrd_error_reason(err) == CTRD_REASON_NO_TASK);
    ctrd_error_free(err);
    CHECK(ctrd_start_container(client, "no-task", NULL, NULL, &err) == CTRD_E_NOT_FOUND);
    CHECK(ctrd_error_reason(err) == CTRD_REASON_NO_TASK);
    ctrd_error_free(err);
    CHECK(ctrd_container_pids(client, "no-task", NULL, &no_pids, &err) == CTRD_E_NOT_FOUND);
    CHECK(ctrd_error_reason(err) == CTRD_REASON_NO_TASK);
    ctrd_error_free(err);
    err = NULL;
    OK(ctrd_destroy_container(client, "no-task", NULL, NULL, NULL, &err));
}

static void one(void)
{
    ctrd_io_t io = CTRD_IO_INIT;
    int out[2];
    const char *id;

    CHECK(pipe2(out, O_CLOEXEC) == 0);
    io.stdout_kind = CTRD_IO_FD;
    io.stdout_fd = out[1];
    id = test_create(client, image, "while :; do echo y; sleep 0.1; done", &io, 0, NULL);
    read_line(out[0], "y\n");
    close(out[0]);
    close(out[1]);
    another_client();

    CHECK(pipe2(out, O_CLOEXEC) == 0);
    io.stdout_fd = out[1];
    OK(ctrd_recover_container(client, id, &io, NULL, NULL, &err));
    read_line(out[0], "y\n");
    /* Again: it stays as it is. */
    OK(ctrd_recover_container(client, id, NULL, NULL, NULL, &err));
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_recover_container(client, id, NULL, NULL, NULL, &err));
    close(out[0]);
    close(out[1]);
}

/* More than are taken over at once. */
#define MANY 20

struct turns {
    pthread_t caller;
    int asked, terminals, ends[MANY];
    char ids[MANY][80];
};

/* Gives a pipe's end away for each container, and checks what is known of it. */
static int32_t on_turn(void *userdata, const ctrd_container_info_t *info, ctrd_io_t *io)
{
    struct turns *turns = userdata;
    ctrd_call_t poll = CTRD_CALL_INIT;
    const char *number = ctrd_container_info_label(info, "number");
    int ends[2], i, watched = 0;

    CHECK(pthread_equal(pthread_self(), turns->caller));
    CHECK(turns->asked < MANY && number != NULL);
    CHECK(ctrd_container_info_status(info) == CTRD_CONTAINER_STATUS_RUNNING);
    CHECK(ctrd_container_info_pid(info) != 0 && ctrd_container_info_generation(info) != 0);
    CHECK(strcmp(ctrd_container_info_owner(info), "ctrd") == 0);
    /* All but the last 16 that were asked for are taken over already. */
    poll.timeout_ms = CTRD_POLL;
    for (i = 0; i < turns->asked; i++)
        watched += ctrd_probe(client, turns->ids[i], NULL, NULL, &poll, NULL, NULL)
                   == CTRD_E_WOULD_BLOCK;
    CHECK(watched > turns->asked - 16);
    strcpy(turns->ids[turns->asked++], ctrd_container_info_id(info));

    turns->terminals += ctrd_container_info_terminal(info);
    io->terminal = (uint32_t)ctrd_container_info_terminal(info);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    io->stdout_kind = CTRD_IO_FD_TAKE;
    io->stdout_fd = ends[1];
    turns->ends[atoi(number)] = ends[0];
    return 0;
}

/* Each container is asked for when its turn comes, and gets the descriptor that was given for it. */
static void in_turn(void)
{
    struct turns turns;
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_io_t io = CTRD_IO_INIT;
    const char *args[3] = {"/bin/sh", "-c", NULL}, *key = "number", *value;
    char command[80], number[8], id[MANY][80], line[16], *spec;
    int i, lines;

    CHECK((io.stdout_fd = open("/dev/null", O_WRONLY | O_CLOEXEC)) >= 0);
    io.stdout_kind = CTRD_IO_FD;
    memset(&turns, 0, sizeof turns);
    turns.caller = pthread_self();
    args[2] = command;
    value = number;
    config.image = image;
    config.args = args;
    config.args_len = 3;
    config.label_keys = &key;
    config.label_values = &value;
    config.labels_len = 1;
    for (i = 0; i < MANY; i++) {
        strcpy(id[i], test_id("c"));
        sprintf(number, "%d", i);
        sprintf(command, "while :; do echo I am %d; sleep 0.1; done", i);
        config.id = id[i];
        config.spec_json = spec = test_spec(id[i]);
        io.terminal = i % 2;
        OK(ctrd_create_container(client, &config, &io, NULL, NULL, &err));
        ctrd_string_free(spec);
    }
    close(io.stdout_fd);
    another_client();
    OK(ctrd_recover_all(client, on_turn, &turns, NULL, NULL, NULL, &err));
    CHECK(turns.asked == MANY && turns.terminals == MANY / 2);
    for (i = 0; i < MANY; i++) {
        FILE *output = fdopen(turns.ends[i], "r");

        CHECK(output != NULL);
        sprintf(command, "I am %d", i);
        /* The first line may be the rest of one. */
        for (lines = 0; lines < 2; lines++)
            CHECK(fgets(line, sizeof line, output) != NULL);
        CHECK(strncmp(line, command, strlen(command)) == 0);
        OK(ctrd_destroy_container(client, id[i], &at_once, NULL, NULL, &err));
        /* The library has closed its end. */
        while (fgets(line, sizeof line, output) != NULL)
            ;
        CHECK(feof(output));
        fclose(output);
    }
}

static void refusals(void)
{
    struct plan plan = {0};
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_io_t io = CTRD_IO_INIT;
    ctrd_recovery_list_t *list = (ctrd_recovery_list_t *)&err;

    REFUSES("client", ctrd_recover_all(NULL, on_recover, &plan, on_destroy, NULL, &list, &err));
    CHECK(list == NULL && plan.destroyed == 1);
    call.timeout_ms = -77;
    FAILS(CTRD_E_TIMEOUT, ctrd_recover_all(client, on_recover, &plan, on_destroy, &call, &list,
                                           &err));
    CHECK(plan.asked == 0 && plan.destroyed == 2);
    REFUSES("client", ctrd_recover_container(NULL, "x", NULL, NULL, NULL, &err));
    REFUSES("id", ctrd_recover_container(client, NULL, NULL, NULL, NULL, &err));
    io.stdin_kind = 77;
    REFUSES("stdin_kind", ctrd_recover_container(client, "x", &io, NULL, NULL, &err));
}

/* Task, or everything, goes by itself after the exit. */
static void cleanup(void)
{
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    const char *args[3] = {"/bin/sh", "-c", "exit 3"};
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_snapshot_info_t *snapshot = NULL;
    ctrd_message_t *message = NULL;
    int64_t deadline = test_now_ms() + 30000;
    uint32_t pid = 0;
    char *spec;
    int i;

    config.id = test_id("c");
    config.spec_json = spec = test_spec(config.id);
    config.image = image;
    config.args = args;
    config.args_len = 3;
    config.cleanup = CTRD_CLEANUP_ALL + 1;
    REFUSES("cleanup", ctrd_create_container(client, &config, NULL, NULL, NULL, &err));
    config.cleanup = CTRD_CLEANUP_TASK;
    config.reserved2 = 1;
    REFUSES("reserved2", ctrd_create_container(client, &config, NULL, NULL, NULL, &err));
    config.reserved2 = 0;
    call.timeout_ms = 10000;
    OK(ctrd_create_container(client, &config, NULL, NULL, NULL, &err));
    ctrd_string_free(spec);
    while (ctrd_container_pid(client, config.id, &call, &pid, NULL) != CTRD_E_NOT_FOUND) {
        CHECK(test_now_ms() < deadline);
        test_sleep_ms(20);
    }
    OK(ctrd_get_snapshot(client, NULL, config.id, NULL, &snapshot, &err));
    ctrd_snapshot_info_free(snapshot);
    OK(ctrd_destroy_container(client, config.id, NULL, NULL, &message, &err));
    CHECK(code_of(message) == 3);

    config.cleanup = CTRD_CLEANUP_ALL;
    config.id = test_id("c");
    config.spec_json = spec = test_spec(config.id);
    OK(ctrd_create_container(client, &config, NULL, NULL, NULL, &err));
    ctrd_string_free(spec);
    while (ctrd_get_snapshot(client, NULL, config.id, &call, &snapshot, NULL) != CTRD_E_NOT_FOUND) {
        ctrd_snapshot_info_free(snapshot);
        CHECK(test_now_ms() < deadline);
        test_sleep_ms(20);
    }
    for (i = 0; i < 2; i++) {
        OK(ctrd_probe(client, config.id, NULL, NULL, &soon, &message, &err));
        CHECK(code_of(message) == 3);
    }
    /* It is destroyed once; nobody else has anything to destroy. */
    OK(ctrd_destroy_container(client, config.id, NULL, NULL, &message, &err));
    CHECK(code_of(message) == 3);
    FAILS(CTRD_E_NOT_FOUND, ctrd_probe(client, config.id, NULL, NULL, NULL, &message, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_destroy_container(client, config.id, NULL, NULL, &message, &err));
}

int main(void)
{
    snprintf(namespace_name, sizeof namespace_name, "recover-%ld", (long)getpid());
    client = test_client_in(namespace_name);
    image = test_image(client);
    all();
    states();
    one();
    in_turn();
    refusals();
    cleanup();
    OK(ctrd_remove_image(client, image, CTRD_REMOVE_IMAGE_SYNC, NULL, &err));
    ctrd_client_free(client);
    return 0;
}
