/* Signals, pauses, restarts, resources and labels of containers that exist. */
#include "test.h"

static char namespace_name[64];
static ctrd_client_t *client;
static const char *image;

#define TRAPS "trap 'exit 10' USR1; trap 'exit 15' TERM; echo ready; while :; do sleep 0.1; done"

/* Creates a container that runs TRAPS, and waits until it does. */
static const char *trapping(uint32_t *pid)
{
    ctrd_io_t io = CTRD_IO_INIT;
    const char *id;
    char line[8];
    int ends[2];

    CHECK(pipe(ends) == 0);
    io.stdout_kind = CTRD_IO_FD_TAKE;
    io.stdout_fd = ends[1];
    id = test_create(client, image, TRAPS, &io, 0, pid);
    CHECK(read(ends[0], line, sizeof line) == 6);
    close(ends[0]);
    return id;
}

static void destroy(const char *id)
{
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
}

static uint32_t exit_code(const char *id)
{
    ctrd_message_t *message = NULL;
    uint32_t code = 0;

    OK(ctrd_probe(client, id, NULL, NULL, &soon, &message, &err));
    CHECK(ctrd_message_exit_code(message, &code));
    ctrd_message_free(message);
    return code;
}

static uint32_t status_of(const char *id)
{
    ctrd_container_info_t *info = NULL;
    uint32_t status;

    OK(ctrd_get_container(client, id, NULL, &info, &err));
    status = ctrd_container_info_status(info);
    ctrd_container_info_free(info);
    return status;
}

static void signal_numbers(void)
{
    CHECK(ctrd_signal_number("SIGTERM") == 15 && ctrd_signal_number("hup") == 1);
    CHECK(ctrd_signal_number("0") == 0 && ctrd_signal_number("SIGRTMIN+3") == 37);
    CHECK(ctrd_signal_number("65") == -1 && ctrd_signal_number("SIGNONE") == -1);
    CHECK(ctrd_signal_number("") == -1 && ctrd_signal_number(NULL) == -1);
    CHECK(ctrd_signal_number("\xff") == -1);
}

static void kills(void)
{
    ctrd_kill_config_t by_number = CTRD_KILL_CONFIG_INIT, by_name, all, none;
    ctrd_pid_list_t *list = NULL;
    uint32_t pid = 0;
    const char *id = trapping(&pid);
    size_t i, found = 0;

    OK(ctrd_container_pids(client, id, NULL, &list, &err));
    for (i = 0; i < ctrd_pid_list_len(list); i++) {
        found += ctrd_pid_list_get(list, i) == pid;
        CHECK(strcmp(ctrd_pid_list_exec_id(list, i), "") == 0);
    }
    CHECK(found == 1 && strcmp(ctrd_pid_list_exec_id(list, i), "") == 0);
    ctrd_pid_list_free(list);

    by_number.signal = 10;
    ctrd_kill_config_init(&by_name, sizeof by_name);
    none = all = by_name;
    none.signal_name = "0";
    by_name.signal_name = "SIGKILL";
    all.flags = CTRD_KILL_ALL;
    OK(ctrd_kill_container(client, id, NULL, &none, NULL, &err));
    OK(ctrd_kill_container(client, id, NULL, &by_number, NULL, &err));
    CHECK(exit_code(id) == 10);
    FAILS(CTRD_E_NOT_FOUND, ctrd_kill_container(client, id, NULL, NULL, NULL, &err));
    OK(ctrd_kill_container(client, id, NULL, &all, NULL, &err));
    destroy(id);

    id = trapping(NULL);
    OK(ctrd_kill_container(client, id, NULL, NULL, NULL, &err));
    CHECK(exit_code(id) == 15);
    destroy(id);

    id = trapping(NULL);
    FAILS(CTRD_E_NOT_FOUND, ctrd_kill_container(client, id, "no-exec", NULL, NULL, &err));
    REFUSES("flags", ctrd_kill_container(client, id, "exec", &all, NULL, &err));
    REFUSES("exec_id", ctrd_kill_container(client, id, "a/b", NULL, NULL, &err));
    by_number.signal = 65;
    REFUSES("signal", ctrd_kill_container(client, id, NULL, &by_number, NULL, &err));
    by_number.signal_name = "TERM";
    REFUSES("signal", ctrd_kill_container(client, id, NULL, &by_number, NULL, &err));
    none.signal_name = "SIGNONE";
    REFUSES("signal_name", ctrd_kill_container(client, id, NULL, &none, NULL, &err));
    all.flags = 2;
    REFUSES("flags", ctrd_kill_container(client, id, NULL, &all, NULL, &err));
    OK(ctrd_kill_container(client, id, NULL, &by_name, NULL, &err));
    CHECK(exit_code(id) == 137);
    destroy(id);
}

static void pauses(void)
{
    ctrd_pause_config_t config = CTRD_PAUSE_CONFIG_INIT;
    const char *id = trapping(NULL);

    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_resume_container(client, id, NULL, NULL, &err));
    OK(ctrd_pause_container(client, id, &config, NULL, &err));
    CHECK(status_of(id) == CTRD_CONTAINER_STATUS_PAUSED);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_pause_container(client, id, NULL, NULL, &err));
    OK(ctrd_resume_container(client, id, &config, NULL, &err));
    CHECK(status_of(id) == CTRD_CONTAINER_STATUS_RUNNING);
    destroy(id);
    FAILS(CTRD_E_NOT_FOUND, ctrd_pause_container(client, id, &config, NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_resume_container(client, id, &config, NULL, &err));
    config.flags = CTRD_PAUSE_IGNORE_NOT_FOUND;
    OK(ctrd_pause_container(client, id, &config, NULL, &err));
    OK(ctrd_resume_container(client, id, &config, NULL, &err));
    config.flags = 2;
    REFUSES("flags", ctrd_pause_container(client, id, &config, NULL, &err));
    REFUSES("id", ctrd_pause_container(client, NULL, NULL, NULL, &err));
    REFUSES("id", ctrd_resume_container(client, "a/b", NULL, NULL, &err));
}

/* Two lives of a container, with the output of each. */
static void restarts(void)
{
    ctrd_restart_config_t config = CTRD_RESTART_CONFIG_INIT;
    ctrd_io_t io = CTRD_IO_INIT;
    ctrd_queue_t *queue = test_queue();
    ctrd_subscription_t *subscription = test_subscribe(queue, client, CTRD_KIND_EXIT, NULL, 5);
    ctrd_message_t *message;
    ctrd_message_t *last = NULL;
    uint32_t first = 0, code = 0;
    ctrd_process_t second = {0};
    uint64_t generation;
    const char *id = trapping(&first);
    char line[8];
    int ends[2];

    CHECK(pipe(ends) == 0);
    io.stdout_kind = CTRD_IO_FD_TAKE;
    io.stdout_fd = ends[1];
    config.grace_ms = 20000;
    OK(ctrd_restart_container(client, id, &config, &io, NULL, &second, &err));
    CHECK(second.pid != 0 && second.pid != first);
    CHECK(read(ends[0], line, sizeof line) == 6);
    message = test_next(queue, CTRD_KIND_EXIT);
    CHECK(ctrd_message_pid(message) == first && ctrd_message_exit_code(message, &code));
    CHECK(code == 15);
    generation = ctrd_message_generation(message);
    ctrd_message_free(message);

    config.grace_ms = CTRD_GRACE_NONE;
    OK(ctrd_restart_container(client, id, &config, NULL, NULL, NULL, &err));
    CHECK(read(ends[0], line, sizeof line) == 0);
    close(ends[0]);
    message = test_next(queue, CTRD_KIND_EXIT);
    CHECK(ctrd_message_pid(message) == second.pid && ctrd_message_exit_code(message, &code));
    CHECK(code == 137 && ctrd_message_generation(message) == generation);
    ctrd_message_free(message);
    CHECK(status_of(id) == CTRD_CONTAINER_STATUS_RUNNING);
    OK(ctrd_destroy_container(client, id, &at_once, NULL, &last, &err));
    CHECK(ctrd_message_pid(last) != second.pid);
    ctrd_message_free(last);

    FAILS(CTRD_E_NOT_FOUND, ctrd_restart_container(client, id, NULL, NULL, NULL, NULL, &err));
    io.stdout_kind = CTRD_IO_PATH;
    io.stdout_path = "relative";
    REFUSES("stdout", ctrd_restart_container(client, id, NULL, &io, NULL, NULL, &err));
    config.grace_ms = -2;
    REFUSES("grace_ms", ctrd_restart_container(client, id, &config, NULL, NULL, NULL, &err));
    config.grace_ms = 0;
    config.flags = 1;
    REFUSES("flags", ctrd_restart_container(client, id, &config, NULL, NULL, NULL, &err));
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
}

/* A submitted restart: the exit of the old process comes before the completion, that of the new one
 * after it. */
static void submitted_restart(void)
{
    ctrd_queue_t *queue = test_queue();
    ctrd_subscription_t *subscription = test_subscribe(queue, client, CTRD_KIND_EXIT, NULL, 5);
    const char *id = test_create(client, image, "exit 3", NULL, 0, NULL);
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_message_t *message;
    uint32_t pid, old;

    message = test_next(queue, CTRD_KIND_EXIT);
    old = ctrd_message_pid(message);
    ctrd_message_free(message);
    call.queue = queue;
    call.tag = 9;
    OK(ctrd_restart_container(client, id, NULL, NULL, &call, NULL, &err));
    message = test_next(queue, CTRD_KIND_DONE);
    CHECK(ctrd_message_tag(message) == 9 && ctrd_message_status(message) == CTRD_OK);
    pid = ctrd_message_pid(message);
    CHECK(pid != 0 && pid != old);
    ctrd_message_free(message);
    message = test_next(queue, CTRD_KIND_EXIT);
    CHECK(ctrd_message_pid(message) == pid);
    ctrd_message_free(message);
    destroy(id);
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
}

static void updates(void)
{
    ctrd_update_config_t config = CTRD_UPDATE_CONFIG_INIT;
    const char *id = trapping(NULL);

    REFUSES("config", ctrd_update_container(client, id, NULL, NULL, &err));
    REFUSES("resources_json", ctrd_update_container(client, id, &config, NULL, &err));
    config.resources_json = "null";
    REFUSES("resources_json", ctrd_update_container(client, id, &config, NULL, &err));
    config.resources_json = "{\"memory\": {\"limit\": \"much\"}}";
    FAILS(CTRD_E_UNKNOWN, ctrd_update_container(client, id, &config, NULL, &err));
    config.resources_json = "{\"pids\": {\"limit\": 77}}";
    OK(ctrd_update_container(client, id, &config, NULL, &err));
    config.flags = 1;
    REFUSES("flags", ctrd_update_container(client, id, &config, NULL, &err));
    config.flags = 0;
    CHECK(status_of(id) == CTRD_CONTAINER_STATUS_RUNNING);
    destroy(id);
    FAILS(CTRD_E_NOT_FOUND, ctrd_update_container(client, id, &config, NULL, &err));
}

static void labels(void)
{
    static const char *const keys[3] = {"org.example/a", "org.example.b", "c"};
    static const char *const first[3] = {"1", "2", "3"};
    static const char *const second[3] = {"x", NULL, ""};
    static const char *const own = "io.ctrd.owner";
    static const char *const missing[1] = {NULL};
    const char *id = trapping(NULL);
    ctrd_container_info_t *info = NULL;

    OK(ctrd_set_container_labels(client, id, keys, first, 3, NULL, &err));
    OK(ctrd_set_container_labels(client, id, keys, second, 3, NULL, &err));
    OK(ctrd_set_container_labels(client, id, NULL, NULL, 0, NULL, &err));
    OK(ctrd_get_container(client, id, NULL, &info, &err));
    CHECK(strcmp(ctrd_container_info_label(info, "org.example/a"), "x") == 0);
    CHECK(ctrd_container_info_label(info, "org.example.b") == NULL);
    CHECK(ctrd_container_info_label(info, "c") == NULL);
    CHECK(strcmp(ctrd_container_info_owner(info), "ctrd") == 0);
    ctrd_container_info_free(info);
    REFUSES("label_keys", ctrd_set_container_labels(client, id, &own, first, 1, NULL, &err));
    REFUSES("label_keys", ctrd_set_container_labels(client, id, NULL, first, 1, NULL, &err));
    REFUSES("label_keys[0]", ctrd_set_container_labels(client, id, missing, first, 1, NULL, &err));
    REFUSES("label_values", ctrd_set_container_labels(client, id, keys, NULL, 1, NULL, &err));
    destroy(id);
    FAILS(CTRD_E_NOT_FOUND, ctrd_set_container_labels(client, id, keys, first, 3, NULL, &err));
}

int main(void)
{
    snprintf(namespace_name, sizeof namespace_name, "control-%ld", (long)getpid());
    client = test_client_in(namespace_name);
    image = test_image(client);
    signal_numbers();
    kills();
    pauses();
    restarts();
    submitted_restart();
    updates();
    labels();
    OK(ctrd_remove_image(client, image, CTRD_REMOVE_IMAGE_SYNC, NULL, &err));
    ctrd_client_free(client);
    return 0;
}
