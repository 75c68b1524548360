/* Arguments that cannot be accepted are refused by name; outputs are then as the header says. */
#include "test.h"

#define BAD_UTF8 "\xff\xfe"

static void handles_and_outputs(ctrd_client_t *client)
{
    ctrd_message_t *message = (ctrd_message_t *)&err;
    ctrd_image_info_t *image = (ctrd_image_info_t *)&err;
    ctrd_version_info_t *version = (ctrd_version_info_t *)&err;
    ctrd_client_t *opened = (ctrd_client_t *)&err;
    ctrd_process_t process = {77, 77, 77};
    ctrd_pid_list_t *pids = (ctrd_pid_list_t *)&err;
    char *json = (char *)&err;

    REFUSES("client", ctrd_version(NULL, NULL, &version, &err));
    CHECK(version == NULL);
    REFUSES("client", ctrd_probe(NULL, "x", NULL, NULL, NULL, &message, &err));
    CHECK(message == NULL);
    REFUSES("client", ctrd_pull_image(NULL, NULL, NULL, &image, &err));
    CHECK(image == NULL);
    REFUSES("client", ctrd_create_container(NULL, NULL, NULL, NULL, &process, &err));
    CHECK(process.pid == 77 && process.generation == 77);
    REFUSES("client", ctrd_client_close(NULL, NULL, &err));
    REFUSES("daemon", ctrd_daemon_stop(NULL, NULL, &err));

    REFUSES("out", ctrd_client_open(NULL, NULL, NULL, &err));
    REFUSES("out", ctrd_cancel_new(NULL, &err));
    REFUSES("out", ctrd_version(client, NULL, NULL, &err));
    REFUSES("out", ctrd_get_image(client, "busybox", NULL, NULL, &err));
    REFUSES("out", ctrd_list_images(client, NULL, 0, NULL, NULL, &err));
    REFUSES("out", ctrd_get_snapshot(client, NULL, "key", NULL, NULL, &err));
    REFUSES("out", ctrd_container_pid(client, "x", NULL, NULL, &err));
    REFUSES("out", ctrd_daemon_start(NULL, NULL, NULL, &err));
    REFUSES("out", ctrd_container_pids(client, "x", NULL, NULL, &err));
    REFUSES("id", ctrd_container_pids(client, NULL, NULL, &pids, &err));
    CHECK(pids == NULL);
    REFUSES("json_out", ctrd_default_spec(NULL, "x", NULL, &err));

    REFUSES("id", ctrd_default_spec(NULL, NULL, &json, &err));
    CHECK(json == NULL);
    REFUSES("id", ctrd_probe(client, NULL, NULL, NULL, NULL, NULL, &err));
    REFUSES("id", ctrd_start_container(client, NULL, NULL, NULL, &err));
    REFUSES("id", ctrd_destroy_container(client, NULL, NULL, NULL, NULL, &err));
    REFUSES("config", ctrd_create_container(client, NULL, NULL, NULL, NULL, &err));
    REFUSES("config", ctrd_pull_image(client, NULL, NULL, NULL, &err));
    REFUSES("config", ctrd_daemon_start(NULL, NULL, (ctrd_daemon_t **)&opened, &err));
    CHECK(opened == NULL);
    REFUSES("reference", ctrd_get_image(client, NULL, NULL, &image, &err));
    REFUSES("reference", ctrd_remove_image(client, NULL, 0, NULL, &err));
    REFUSES("key", ctrd_remove_snapshot(client, NULL, NULL, NULL, &err));
}

static void texts(ctrd_client_t *client)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_container_config_t container = CTRD_CONTAINER_CONFIG_INIT;
    const char *strings[2] = {"fine", BAD_UTF8};
    const char *missing[2] = {"fine", NULL};
    const char *own[1] = {"io.ctrd.owner"};
    const char *filters[3] = {"name==x", "", "name==/x"};
    const char *directories[2] = {"/usr/bin", ""};
    ctrd_daemon_config_t daemon = CTRD_DAEMON_CONFIG_INIT;
    ctrd_daemon_t *started = NULL;
    ctrd_client_t *opened = NULL;
    ctrd_image_info_list_t *images = NULL;

    REFUSES("id", ctrd_probe(client, BAD_UTF8, NULL, NULL, NULL, NULL, &err));
    REFUSES("snapshotter", ctrd_remove_snapshot(client, BAD_UTF8, "key", NULL, &err));
    REFUSES("filters[1]", ctrd_list_images(client, strings, 2, NULL, &images, &err));
    REFUSES("filters[1]", ctrd_list_images(client, missing, 2, NULL, &images, &err));
    REFUSES("filters", ctrd_list_images(client, NULL, 2, NULL, &images, &err));
    REFUSES("filters", ctrd_list_images(client, strings, (size_t)-1, NULL, &images, &err));

    REFUSES("filters[2]", ctrd_list_images(client, filters, 3, NULL, &images, &err));
    OK(ctrd_list_images(client, filters, 2, NULL, &images, &err));
    ctrd_image_info_list_free(images);

    call.namespace_name = BAD_UTF8;
    REFUSES("namespace_name", ctrd_probe(client, "x", NULL, NULL, &call, NULL, &err));
    call.namespace_name = "a/b";
    REFUSES("namespace_name", ctrd_probe(client, "x", NULL, NULL, &call, NULL, &err));
    call.namespace_name = NULL;
    call.lease = BAD_UTF8;
    REFUSES("lease", ctrd_probe(client, "x", NULL, NULL, &call, NULL, &err));
    call.lease = "";
    REFUSES("lease", ctrd_probe(client, "x", NULL, NULL, &call, NULL, &err));
    REFUSES("lease", ctrd_list_images(client, NULL, 0, &call, &images, &err));

    config.address = BAD_UTF8;
    REFUSES("address", ctrd_client_open(&config, NULL, &opened, &err));
    config.address = NULL;
    config.state_dir = BAD_UTF8;
    REFUSES("state_dir", ctrd_client_open(&config, NULL, &opened, &err));

    daemon.directory = "/tmp/ctrd-arguments";
    daemon.binary = "/etc/passwd";
    FAILS(CTRD_E_PERMISSION_DENIED, ctrd_daemon_start(&daemon, NULL, &started, &err));
    daemon.binary = NULL;
    daemon.path = directories;
    daemon.path_len = 2;
    REFUSES("path[1]", ctrd_daemon_start(&daemon, NULL, &started, &err));
    directories[1] = "/a:b";
    REFUSES("path[1]", ctrd_daemon_start(&daemon, NULL, &started, &err));
    daemon.path_len = 1;
    daemon.binary = "/a:b/containerd";
    REFUSES("binary", ctrd_daemon_start(&daemon, NULL, &started, &err));

    container.id = "x";
    container.image = "busybox";
    container.args = strings;
    container.args_len = 2;
    REFUSES("args[1]", ctrd_create_container(client, &container, NULL, NULL, NULL, &err));
    /* Of length 0, an array is not looked at. */
    container.args = (const char *const *)1;
    container.args_len = 0;
    container.label_keys = strings;
    container.labels_len = 1;
    REFUSES("label_values", ctrd_create_container(client, &container, NULL, NULL, NULL, &err));
    container.label_values = missing + 1;
    REFUSES("label_values[0]", ctrd_create_container(client, &container, NULL, NULL, NULL, &err));
    container.label_keys = own;
    container.label_values = strings;
    REFUSES("label_keys", ctrd_create_container(client, &container, NULL, NULL, NULL, &err));
}

static void constants(ctrd_client_t *client)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_container_config_t container = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_pull_config_t pull = CTRD_PULL_CONFIG_INIT;
    ctrd_daemon_config_t daemon = CTRD_DAEMON_CONFIG_INIT;
    ctrd_probe_config_t probe = {0, 0, 0};
    ctrd_destroy_config_t destroy = CTRD_DESTROY_CONFIG_INIT;
    ctrd_io_t io = CTRD_IO_INIT;
    ctrd_client_t *opened = NULL;
    ctrd_daemon_t *started = NULL;

    REFUSES("config", ctrd_probe(client, "x", NULL, &probe, NULL, NULL, &err));
    ctrd_probe_config_init(&probe, sizeof probe);
    probe.flags = 1;
    REFUSES("flags", ctrd_probe(client, "x", NULL, &probe, NULL, NULL, &err));
    REFUSES("exec_id", ctrd_probe(client, "x", BAD_UTF8, NULL, NULL, NULL, &err));
    REFUSES("exec_id", ctrd_probe(client, "x", "x", NULL, NULL, NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_probe(client, "x", "y", NULL, NULL, NULL, &err));
    call.reserved = 1;
    REFUSES("reserved", ctrd_probe(client, "x", NULL, NULL, &call, NULL, &err));
    config.call_timeout_ms = CTRD_POLL;
    REFUSES("call_timeout_ms", ctrd_client_open(&config, NULL, &opened, &err));
    config.call_timeout_ms = 0;
    config.flags = CTRD_CLIENT_KEEP_STOPPED_TASKS << 1;
    REFUSES("flags", ctrd_client_open(&config, NULL, &opened, &err));
    destroy.grace_ms = -3;
    REFUSES("grace_ms", ctrd_destroy_container(client, "x", &destroy, NULL, NULL, &err));
    destroy.grace_ms = CTRD_POLL;
    REFUSES("grace_ms", ctrd_destroy_container(client, "x", &destroy, NULL, NULL, &err));
    destroy.reserved = 1;
    REFUSES("reserved", ctrd_destroy_container(client, "x", &destroy, NULL, NULL, &err));
    REFUSES("flags", ctrd_remove_image(client, "busybox", 2, NULL, &err));
    REFUSES("level", ctrd_set_log_hook(CTRD_LOG_TRACE + 1, NULL, NULL, NULL, &err));
    daemon.flags = CTRD_DAEMON_OUTLIVE << 1;
    REFUSES("flags", ctrd_daemon_start(&daemon, NULL, &started, &err));

    pull.reference = "busybox";
    pull.flags = (uint64_t)1 << 63;
    REFUSES("flags", ctrd_pull_image(client, &pull, NULL, NULL, &err));
    pull.flags = 0;
    pull.username = "somebody";
    REFUSES("secret", ctrd_pull_image(client, &pull, NULL, NULL, &err));

    container.id = "x";
    container.image = "busybox";
    container.flags = (uint64_t)1 << 63;
    REFUSES("flags", ctrd_create_container(client, &container, NULL, NULL, NULL, &err));
    container.flags = 0;
    container.reserved = 1;
    REFUSES("reserved", ctrd_create_container(client, &container, NULL, NULL, NULL, &err));
    container.reserved = 0;
    io.stdout_kind = CTRD_IO_FD_TAKE + 1;
    REFUSES("stdout_kind", ctrd_create_container(client, &container, &io, NULL, NULL, &err));
    io.stdout_kind = CTRD_IO_PATH;
    REFUSES("stdout_path", ctrd_create_container(client, &container, &io, NULL, NULL, &err));
    io.stdout_kind = CTRD_IO_FD;
    io.stdout_fd = -1;
    REFUSES("stdout_fd", ctrd_create_container(client, &container, &io, NULL, NULL, &err));
    io.stdout_fd = 9999;
    REFUSES("stdout_fd", ctrd_create_container(client, &container, &io, NULL, NULL, &err));
    io.stdout_kind = CTRD_IO_NONE;
    io.terminal = 2;
    REFUSES("terminal", ctrd_create_container(client, &container, &io, NULL, NULL, &err));
    io.terminal = 1;
    io.stderr_kind = CTRD_IO_FD;
    REFUSES("stderr_kind", ctrd_create_container(client, &container, &io, NULL, NULL, &err));
    io.stderr_kind = CTRD_IO_NONE;
    io.reserved = 1;
    REFUSES("reserved", ctrd_create_container(client, &container, &io, NULL, NULL, &err));
    io.size = 1;
    REFUSES("io", ctrd_create_container(client, &container, &io, NULL, NULL, &err));
}

/* The error of a call that refuses something long is a line all the same. */
static void is_a_line(const char *call, ctrd_status_t status)
{
    if (status == CTRD_OK || strlen(ctrd_error_text(err)) > 2500
        || strlen(ctrd_error_subject(err)) > 510 || strstr(ctrd_error_text(err), "…") == NULL) {
        fprintf(stderr, "%s: %d: %zu bytes\n", call, status, strlen(ctrd_error_text(err)));
        exit(1);
    }
    ctrd_error_free(err);
    err = NULL;
}

#define IS_A_LINE(call) is_a_line(#call, (call))

static void long_texts(ctrd_client_t *client)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_container_config_t container = CTRD_CONTAINER_CONFIG_INIT, fresh = container;
    ctrd_pull_config_t pull = CTRD_PULL_CONFIG_INIT;
    ctrd_daemon_config_t daemon = CTRD_DAEMON_CONFIG_INIT;
    ctrd_client_t *opened = NULL;
    ctrd_daemon_t *started = NULL;
    ctrd_image_info_t *image = NULL;
    static char text[200001];
    const char *strings[1] = {text};

    memset(text, 'x', sizeof text - 1);
    IS_A_LINE(ctrd_probe(client, text, NULL, NULL, NULL, NULL, &err));
    IS_A_LINE(ctrd_destroy_container(client, text, NULL, NULL, NULL, &err));
    IS_A_LINE(ctrd_get_image(client, text, NULL, &image, &err));
    IS_A_LINE(ctrd_remove_snapshot(client, NULL, text, NULL, &err));
    pull.reference = text;
    IS_A_LINE(ctrd_pull_image(client, &pull, NULL, NULL, &err));
    pull.reference = "busybox";
    pull.platform = text;
    IS_A_LINE(ctrd_pull_image(client, &pull, NULL, NULL, &err));
    pull.platform = NULL;
    text[0] = '/';
    pull.token_hosts = strings;
    pull.token_hosts_len = 1;
    IS_A_LINE(ctrd_pull_image(client, &pull, NULL, NULL, &err));

    container.id = text;
    IS_A_LINE(ctrd_create_container(client, &container, NULL, NULL, NULL, &err));
    container.id = "x";
    container.image = text;
    REFUSES("image", ctrd_create_container(client, &container, NULL, NULL, NULL, &err));
    container.image = NULL;
    container.rootfs = text;
    IS_A_LINE(ctrd_create_container(client, &container, NULL, NULL, NULL, &err));
    container = fresh;
    container.id = "x";
    container.image = test_environment("CTRD_TEST_IMAGE");
    container.label_keys = container.label_values = strings;
    container.labels_len = 1;
    text[0] = 'x';
    CHECK(ctrd_create_container(client, &container, NULL, NULL, NULL, &err)
          == CTRD_E_INVALID_ARGUMENT);
    CHECK(strlen(ctrd_error_text(err)) < 300);
    ctrd_error_free(err);

    config.address = text;
    IS_A_LINE(ctrd_client_open(&config, NULL, &opened, &err));
    text[0] = '/';
    IS_A_LINE(ctrd_client_open(&config, NULL, &opened, &err));
    daemon.directory = text;
    IS_A_LINE(ctrd_daemon_start(&daemon, NULL, &started, &err));
    daemon.directory = "/tmp/x";
    daemon.binary = text;
    IS_A_LINE(ctrd_daemon_start(&daemon, NULL, &started, &err));
    text[0] = 'x';
    daemon.binary = NULL;
    daemon.path = strings;
    daemon.path_len = 1;
    IS_A_LINE(ctrd_daemon_start(&daemon, NULL, &started, &err));
}

/* Structs of other versions of the header. */
static void sizes(ctrd_client_t *client)
{
    struct {
        ctrd_call_t call;
        uint64_t later;
    } later = {CTRD_CALL_INIT, 0};
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_version_info_t *version = NULL;

    /* Of a later one: what it has more is not used, and then is. */
    later.call.size = sizeof later;
    OK(ctrd_version(client, &later.call, &version, &err));
    ctrd_version_info_free(version);
    later.later = 1;
    REFUSES("call", ctrd_version(client, &later.call, &version, &err));

    /* Of an older one: what it lacks is not read. */
    call.size = offsetof(ctrd_call_t, queue);
    call.queue = (ctrd_queue_t *)1;
    call.timeout_ms = -1;
    OK(ctrd_version(client, &call, &version, &err));
    ctrd_version_info_free(version);

    /* Of none. */
    call.size = 0;
    REFUSES("call", ctrd_version(client, &call, &version, &err));
    call.size = sizeof call - 1;
    REFUSES("call", ctrd_version(client, &call, &version, &err));
    call.size = (size_t)-8;
    REFUSES("call", ctrd_version(client, &call, &version, &err));
}

/* The same of a struct that is filled in. */
static void filled_in(ctrd_client_t *client)
{
    struct {
        ctrd_counters_t counters;
        uint64_t later;
    } later;
    ctrd_counters_t counters = CTRD_COUNTERS_INIT;

    REFUSES("client", ctrd_client_counters(NULL, &counters, &err));
    REFUSES("out", ctrd_client_counters(client, NULL, &err));
    counters.size = sizeof counters + 1;
    REFUSES("out", ctrd_client_counters(client, &counters, &err));

    memset(&later, 0xff, sizeof later);
    later.counters.size = sizeof later;
    OK(ctrd_client_counters(client, &later.counters, &err));
    CHECK(later.counters.size == sizeof later && later.counters.reconnects == 0);
    CHECK(later.counters.dropped == 0 && later.counters.outstanding == 0 && later.later == 0);

    memset(&counters, 0xff, sizeof counters);
    counters.size = offsetof(ctrd_counters_t, dropped);
    OK(ctrd_client_counters(client, &counters, &err));
    CHECK(counters.size == offsetof(ctrd_counters_t, dropped) && counters.reconciled == 0);
    CHECK(counters.dropped == (uint64_t)-1 && counters.outstanding == (uint64_t)-1);
}

static void initialisers(void)
{
    ctrd_call_t call = CTRD_CALL_INIT, other;
    ctrd_io_t io = CTRD_IO_INIT, other_io;
    char later[sizeof call + 16];

    memset(&other, 0xff, sizeof other);
    ctrd_call_init(&other, sizeof other);
    CHECK(memcmp(&call, &other, sizeof call) == 0);
    memset(&other_io, 0xff, sizeof other_io);
    ctrd_io_init(&other_io, sizeof other_io);
    CHECK(memcmp(&io, &other_io, sizeof io) == 0);

    /* No more is written than the caller has. */
    memset(&other, 0xff, sizeof other);
    ctrd_call_init(&other, 2 * sizeof(size_t));
    CHECK(other.size == 2 * sizeof(size_t) && other.cancel == NULL && other.lease != NULL);
    memset(later, 0xff, sizeof later);
    ctrd_call_init((ctrd_call_t *)(void *)later, sizeof later);
    CHECK(later[sizeof later - 1] == 0);
}

int main(void)
{
    ctrd_client_t *client = test_client();

    handles_and_outputs(client);
    texts(client);
    constants(client);
    long_texts(client);
    sizes(client);
    filled_in(client);
    initialisers();
    ctrd_client_free(client);
    return 0;
}
