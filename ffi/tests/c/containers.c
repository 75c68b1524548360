/* The life of a container: created, started, probed, destroyed. */
#include "test.h"

#include <signal.h>
#include <sys/time.h>

static ctrd_client_t *client;
static const char *image;
static ctrd_cancel_t *cancel;

static const char *create(const char *command, uint64_t flags, uint32_t *pid)
{
    return test_create(client, image, command, NULL, flags, pid);
}

static uint32_t code_of(const ctrd_message_t *message)
{
    uint32_t code = 0xffffffff;

    CHECK(ctrd_message_exit_code(message, &code) == 1);
    CHECK(ctrd_message_exit_code(message, NULL) == 1);
    return code;
}

static void exits(void)
{
    ctrd_message_t *message = NULL, *again = NULL, *last = NULL, *kept;
    ctrd_time_t ended = {0, 0, 0};
    const char *id = create("exit 7", 0, NULL);

    OK(ctrd_probe(client, id, NULL, NULL, &soon, &message, &err));
    CHECK(code_of(message) == 7);
    CHECK(ctrd_message_kind(message) == CTRD_KIND_EXIT);
    CHECK(ctrd_message_origin(message) == CTRD_ORIGIN_LIVE);
    CHECK(strcmp(ctrd_message_container_id(message), id) == 0);
    CHECK(ctrd_message_exec_id(message) == NULL);
    CHECK(ctrd_message_error(message) == NULL && ctrd_message_start_error(message) == NULL);
    CHECK(ctrd_message_exit_time(message, &ended) == 1);
    CHECK(ended.seconds > time(NULL) - 60 && ended.seconds <= time(NULL) + 1);
    CHECK(ended.nanoseconds < 1000000000);

    /* It can be had again, and kept. */
    OK(ctrd_probe(client, id, NULL, NULL, &soon, &again, &err));
    CHECK(code_of(again) == 7);
    ctrd_message_free(again);
    kept = ctrd_message_ref(message);
    ctrd_message_free(message);
    OK(ctrd_probe(client, id, NULL, NULL, &soon, NULL, &err));

    OK(ctrd_destroy_container(client, id, NULL, NULL, &last, &err));
    CHECK(code_of(last) == 7);
    ctrd_message_free(last);
    CHECK(code_of(kept) == 7);
    ctrd_message_free(kept);

    FAILS(CTRD_E_NOT_FOUND, ctrd_probe(client, id, NULL, NULL, NULL, &message, &err));
    CHECK(message == NULL);
    FAILS(CTRD_E_NOT_FOUND, ctrd_destroy_container(client, id, NULL, NULL, &message, &err));
    CHECK(message == NULL);
}

/* A create that fails because something is missing says what. */
static void lacks(const ctrd_container_config_t *config, const char *lease, ctrd_status_t status,
                  uint32_t reason)
{
    ctrd_call_t call = CTRD_CALL_INIT;

    call.lease = lease;
    if (ctrd_create_container(client, config, NULL, &call, NULL, &err) != status
        || ctrd_error_reason(err) != reason) {
        fprintf(stderr, "reason %u instead of %u: %s\n", (unsigned)ctrd_error_reason(err),
                (unsigned)reason, ctrd_error_text(err));
        exit(1);
    }
    ctrd_error_free(err);
    err = NULL;
}

static void missing(void)
{
    static const char *const args[1] = {"/bin/true"};
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    char *spec = test_spec("missing");

    config.id = "missing";
    config.spec_json = spec;
    config.args = args;
    config.args_len = 1;
    config.image = "docker.io/library/nothing:1";
    lacks(&config, NULL, CTRD_E_NOT_FOUND, CTRD_REASON_NO_IMAGE);
    config.image = "nothing";
    lacks(&config, NULL, CTRD_E_NOT_FOUND, CTRD_REASON_NO_IMAGE);
    config.image = image;
    lacks(&config, "nothing", CTRD_E_NOT_FOUND, CTRD_REASON_NO_LEASE);
    config.snapshotter = "nothing";
    lacks(&config, NULL, CTRD_E_INVALID_ARGUMENT, CTRD_REASON_NO_SNAPSHOTTER);
    config.snapshotter = NULL;
    config.runtime = "io.containerd.nothing.v1";
    lacks(&config, NULL, CTRD_E_UNKNOWN, CTRD_REASON_NO_RUNTIME);
    CHECK(ctrd_start_container(client, "missing", NULL, NULL, &err) == CTRD_E_NOT_FOUND);
    CHECK(ctrd_error_reason(err) == CTRD_REASON_NO_CONTAINER);
    ctrd_error_free(err);
    err = NULL;
    ctrd_string_free(spec);
}

static void started_later(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_message_t *message = NULL;
    ctrd_pid_list_t *pids = NULL;
    ctrd_process_t started = {0, 0, 0};
    uint32_t created = 0, asked = 0;
    size_t len;
    const char *id = create("sleep 60", CTRD_CONTAINER_NO_START, &created);

    OK(ctrd_start_container(client, id, NULL, &started, &err));
    CHECK(created != 0 && started.pid == created && started.generation != 0);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_start_container(client, id, NULL, NULL, &err));

    call.timeout_ms = CTRD_POLL;
    FAILS(CTRD_E_WOULD_BLOCK, ctrd_probe(client, id, NULL, NULL, &call, &message, &err));
    OK(ctrd_container_pid(client, id, NULL, &asked, &err));
    CHECK(asked == created);
    OK(ctrd_container_pids(client, id, NULL, &pids, &err));
    len = ctrd_pid_list_len(pids);
    CHECK(len >= 1 && ctrd_pid_list_get(pids, 0) == created && ctrd_pid_list_get(pids, len) == 0);
    ctrd_pid_list_free(pids);

    OK(ctrd_destroy_container(client, id, &at_once, NULL, &message, &err));
    CHECK(code_of(message) == 128 + SIGKILL);
    ctrd_message_free(message);
}

static void grace(void)
{
    ctrd_message_t *message = NULL;
    ctrd_destroy_config_t config = CTRD_DESTROY_CONFIG_INIT;
    int64_t began;
    const char *id = create("trap '' TERM; while :; do sleep 0.1; done", 0, NULL);

    test_sleep_ms(200);
    began = test_now_ms();
    config.grace_ms = 300;
    OK(ctrd_destroy_container(client, id, &config, NULL, &message, &err));
    CHECK(test_now_ms() - began >= 300);
    CHECK(code_of(message) == 128 + SIGKILL);
    ctrd_message_free(message);
}

/* Without an end of the grace period, it is the call's time that ends the wait. */
static void grace_for_ever(void)
{
    ctrd_destroy_config_t config = CTRD_DESTROY_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    const char *id = create("trap '' TERM; while :; do sleep 0.1; done", 0, NULL);

    test_sleep_ms(200);
    call.timeout_ms = 500;
    config.grace_ms = CTRD_FOREVER;
    CHECK(ctrd_destroy_container(client, id, &config, &call, NULL, &err) == CTRD_E_TIMEOUT);
    CHECK(ctrd_error_flags(err) & CTRD_ERROR_OUTCOME_UNKNOWN);
    ctrd_error_free(err);
    err = NULL;
    call.timeout_ms = CTRD_POLL;
    FAILS(CTRD_E_WOULD_BLOCK, ctrd_probe(client, id, NULL, NULL, &call, NULL, &err));
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
}

static void on_alarm(int number)
{
    (void)number;
    ctrd_cancel_fire(cancel);
}

static void limits(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_message_t *message = NULL;
    struct itimerval in_100_ms;
    struct sigaction action;
    const char *id = create("sleep 60", 0, NULL);

    call.timeout_ms = 50;
    FAILS(CTRD_E_TIMEOUT, ctrd_probe(client, id, NULL, NULL, &call, &message, &err));
    CHECK(message == NULL);

    OK(ctrd_cancel_new(&cancel, &err));
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    memset(&in_100_ms, 0, sizeof in_100_ms);
    in_100_ms.it_value.tv_usec = 100000;
    CHECK(setitimer(ITIMER_REAL, &in_100_ms, NULL) == 0);
    call.timeout_ms = 0;
    call.cancel = cancel;
    FAILS(CTRD_E_CANCELLED, ctrd_probe(client, id, NULL, NULL, &call, &message, &err));
    CHECK(message == NULL);
    ctrd_cancel_free(cancel);

    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
}

static void snapshots(void)
{
    ctrd_snapshot_info_t *snapshot = NULL;
    ctrd_time_t made = {0, 0, 0};
    const char *id = create("exit 0", 0, NULL);
    char *parent;
    size_t i;

    OK(ctrd_get_snapshot(client, NULL, id, NULL, &snapshot, &err));
    CHECK(strcmp(ctrd_snapshot_info_name(snapshot), id) == 0);
    CHECK(ctrd_snapshot_info_kind(snapshot) == CTRD_SNAPSHOT_ACTIVE);
    CHECK(ctrd_snapshot_info_created_at(snapshot, &made) == 1 && made.seconds > 0);
    CHECK(ctrd_snapshot_info_updated_at(snapshot, NULL) == 1);
    for (i = 0; i < ctrd_snapshot_info_labels_len(snapshot); i++)
        CHECK(ctrd_snapshot_info_label_key(snapshot, i) && ctrd_snapshot_info_label_value(snapshot, i));
    CHECK(ctrd_snapshot_info_label_key(snapshot, i) == NULL);
    parent = strdup(ctrd_snapshot_info_parent(snapshot));
    ctrd_snapshot_info_free(snapshot);

    OK(ctrd_get_snapshot(client, "overlayfs", parent, NULL, &snapshot, &err));
    CHECK(ctrd_snapshot_info_kind(snapshot) == CTRD_SNAPSHOT_COMMITTED);
    ctrd_snapshot_info_free(snapshot);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_remove_snapshot(client, NULL, parent, NULL, &err));
    free(parent);

    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_get_snapshot(client, NULL, id, NULL, &snapshot, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_remove_snapshot(client, NULL, id, NULL, &err));
}

static void specification(void)
{
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_message_t *message = NULL;
    const char *args[3] = {"/bin/sh", "-c", "exit 9"};
    const char *keys[1] = {"org.example.topic"}, *values[1] = {"specification"};
    char *json = NULL;

    config.id = test_id("c");
    OK(ctrd_default_spec(NULL, config.id, &json, &err));
    CHECK(strstr(json, "\"ociVersion\"") != NULL);
    config.image = image;
    config.spec_json = json;
    config.args = args;
    config.args_len = 3;
    config.label_keys = keys;
    config.label_values = values;
    config.labels_len = 1;
    OK(ctrd_create_container(client, &config, NULL, NULL, NULL, &err));
    ctrd_string_free(json);
    OK(ctrd_probe(client, config.id, NULL, NULL, &soon, &message, &err));
    CHECK(code_of(message) == 9);
    ctrd_message_free(message);
    OK(ctrd_destroy_container(client, config.id, NULL, NULL, NULL, &err));
}

int main(void)
{
    client = test_client();
    image = test_image(client);
    exits();
    missing();
    started_later();
    grace();
    grace_for_ever();
    limits();
    snapshots();
    specification();
    ctrd_client_free(client);
    return 0;
}
