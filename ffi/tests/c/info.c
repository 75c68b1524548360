/* Containers are looked up and listed; and what tells one life of an id from the next. */
#include "test.h"

#include <signal.h>

static ctrd_client_t *client;
static const char *image;

/* A namespace of its own, because all its containers are listed. */
static char namespace_name[64];

static ctrd_container_info_t *look_up(const char *id)
{
    ctrd_container_info_t *info = NULL;

    OK(ctrd_get_container(client, id, NULL, &info, &err));
    CHECK(info != NULL && strcmp(ctrd_container_info_id(info), id) == 0);
    return info;
}

/* Gives the status of a container, which must have this process id. */
static uint32_t status_of(const char *id, uint32_t pid)
{
    ctrd_container_info_t *info = look_up(id);
    uint32_t status = ctrd_container_info_status(info), code = 77;
    int ended = status == CTRD_CONTAINER_STATUS_STOPPED;

    CHECK(ctrd_container_info_pid(info) == pid);
    CHECK(ctrd_container_info_exit_code(info, &code) == ended && (code != 77) == ended);
    CHECK(ctrd_container_info_exit_time(info, NULL) == ended);
    ctrd_container_info_free(info);
    return status;
}

/* A container that runs a shell command, with two labels. */
static void create(const char *id, const char *command, const ctrd_io_t *io, uint64_t flags,
                   uint32_t cleanup, ctrd_process_t *process)
{
    const char *args[3] = {"/bin/sh", "-c", NULL};
    const char *keys[2] = {"role", "org.example.asked"}, *values[2] = {"web", "yes"};
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    char *spec = test_spec(id);

    args[2] = command;
    config.id = id;
    config.image = image;
    config.spec_json = spec;
    config.args = args;
    config.args_len = 3;
    config.label_keys = keys;
    config.label_values = values;
    config.labels_len = 2;
    config.flags = flags;
    config.cleanup = cleanup;
    OK(ctrd_create_container(client, &config, io, NULL, process, &err));
    ctrd_string_free(spec);
}

static void record(void)
{
    const char *id = test_id("c"), *key;
    ctrd_io_t io = CTRD_IO_INIT;
    ctrd_container_info_t *info;
    ctrd_image_info_t *made_from = NULL;
    ctrd_time_t made = {0, 0, 0}, changed = {0, 0, 0};

    io.terminal = 1;
    create(id, "exit 0", &io, CTRD_CONTAINER_NO_START, CTRD_CLEANUP_TASK, NULL);
    info = look_up(id);
    OK(ctrd_get_image(client, image, NULL, &made_from, &err));
    CHECK(strcmp(ctrd_container_info_image(info), ctrd_image_info_name(made_from)) == 0);
    ctrd_image_info_free(made_from);
    CHECK(strcmp(ctrd_container_info_runtime(info), "io.containerd.runc.v2") == 0);
    CHECK(strcmp(ctrd_container_info_snapshotter(info), "overlayfs") == 0);
    CHECK(strcmp(ctrd_container_info_snapshot_key(info), id) == 0);
    CHECK(strcmp(ctrd_container_info_owner(info), "ctrd") == 0);
    CHECK(ctrd_container_info_cleanup(info) == CTRD_CLEANUP_TASK);
    CHECK(ctrd_container_info_terminal(info) == 1);
    CHECK(ctrd_container_info_generation(info) != 0);
    CHECK(ctrd_container_info_created_at(info, &made) == 1);
    CHECK(made.seconds > time(NULL) - 60 && made.seconds <= time(NULL) + 1);
    CHECK(ctrd_container_info_updated_at(info, &changed) == 1 && changed.seconds >= made.seconds);

    /* The labels are in the order of their keys. The library's own are not among them. */
    CHECK(ctrd_container_info_labels_len(info) >= 2);
    key = ctrd_container_info_label_key(info, ctrd_container_info_labels_len(info) - 1);
    CHECK(strcmp(key, "role") == 0);
    CHECK(strcmp(ctrd_container_info_label(info, "role"), "web") == 0);
    CHECK(strcmp(ctrd_container_info_label(info, "org.example.asked"), "yes") == 0);
    CHECK(ctrd_container_info_label(info, "io.ctrd.owner") == NULL);
    CHECK(ctrd_container_info_label(info, "\xff") == NULL);
    CHECK(ctrd_container_info_label(info, NULL) == NULL);
    CHECK(ctrd_container_info_label_key(info, ctrd_container_info_labels_len(info)) == NULL);
    CHECK(ctrd_container_info_label_value(info, ctrd_container_info_labels_len(info)) == NULL);

    /* It stays as it was when the container is gone. */
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
    CHECK(strcmp(ctrd_container_info_label(info, "role"), "web") == 0);
    ctrd_container_info_free(info);
    FAILS(CTRD_E_NOT_FOUND, ctrd_get_container(client, id, NULL, &info, &err));
    CHECK(info == NULL);
}

static void statuses(void)
{
    const char *id = test_id("c"), *with_cleanup = test_id("c");
    ctrd_container_info_t *info;
    ctrd_process_t process = {0, 0, 0};
    uint32_t code = 0;
    int64_t deadline = test_now_ms() + 30000;
    ctrd_time_t ended = {0, 0, 0};

    create(id, "sleep 1000", NULL, CTRD_CONTAINER_NO_START, CTRD_CLEANUP_KEEP, &process);
    CHECK(status_of(id, process.pid) == CTRD_CONTAINER_STATUS_CREATED);
    OK(ctrd_start_container(client, id, NULL, NULL, &err));
    CHECK(status_of(id, process.pid) == CTRD_CONTAINER_STATUS_RUNNING);
    CHECK(kill((pid_t)process.pid, SIGKILL) == 0);
    OK(ctrd_probe(client, id, NULL, NULL, &soon, NULL, &err));
    CHECK(status_of(id, process.pid) == CTRD_CONTAINER_STATUS_STOPPED);
    info = look_up(id);
    CHECK(ctrd_container_info_exit_code(info, &code) == 1 && code == 128 + SIGKILL);
    CHECK(ctrd_container_info_exit_time(info, &ended) == 1 && ended.seconds > time(NULL) - 60);
    CHECK(ctrd_container_info_terminal(info) == 0);
    CHECK(ctrd_container_info_cleanup(info) == CTRD_CLEANUP_KEEP);
    ctrd_container_info_free(info);
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));

    /* The exit is known also if the task is deleted. */
    create(with_cleanup, "exit 7", NULL, 0, CTRD_CLEANUP_TASK, NULL);
    info = look_up(with_cleanup);
    while (ctrd_container_info_status(info) != CTRD_CONTAINER_STATUS_NO_TASK) {
        CHECK(test_now_ms() < deadline);
        test_sleep_ms(20);
        ctrd_container_info_free(info);
        info = look_up(with_cleanup);
    }
    CHECK(ctrd_container_info_exit_code(info, &code) == 1 && code == 7);
    CHECK(ctrd_container_info_pid(info) == 0);
    ctrd_container_info_free(info);
    OK(ctrd_destroy_container(client, with_cleanup, NULL, NULL, NULL, &err));
}

/* How many containers a filter leaves. */
static size_t count(const char *filter)
{
    ctrd_container_info_list_t *list = NULL;
    size_t len;

    OK(ctrd_list_containers(client, &filter, 1, NULL, &list, &err));
    len = ctrd_container_info_list_len(list);
    ctrd_container_info_list_free(list);
    return len;
}

/* The filters for the containers of this library and of one owner. Two of both exist. */
static void owned(void)
{
    char command[512];

    snprintf(command, sizeof command, "ctr -a %s -n %s containers create %s another /bin/true",
             test_environment("CTRD_TEST_ADDRESS"), namespace_name, image);
    CHECK(system(command) == 0);
    CHECK(count("id!=x") == 3);
    CHECK(count("labels.\"io.ctrd.owner\"") == 2);
    CHECK(count("labels.\"io.ctrd.owner\"==\"ctrd\"") == 2);
    CHECK(count("labels.\"io.ctrd.owner\"==\"epolld\"") == 0);
    OK(ctrd_destroy_container(client, "another", &at_once, NULL, NULL, &err));
}

static void lists(void)
{
    const char *ids[2] = {"a", "b"}, *filters[2] = {"id==b", "labels.role==nobody"};
    const char *bad[2] = {"id==b", "id==/b"};
    ctrd_container_info_list_t *list = NULL;
    ctrd_call_t elsewhere = CTRD_CALL_INIT;
    size_t i;

    create(ids[1], "sleep 1000", NULL, 0, CTRD_CLEANUP_KEEP, NULL);
    create(ids[0], "sleep 1000", NULL, CTRD_CONTAINER_NO_START, CTRD_CLEANUP_ALL, NULL);
    OK(ctrd_list_containers(client, NULL, 0, NULL, &list, &err));
    CHECK(ctrd_container_info_list_len(list) == 2);
    for (i = 0; i < 2; i++) {
        const ctrd_container_info_t *info = ctrd_container_info_list_get(list, i);

        CHECK(strcmp(ctrd_container_info_id(info), ids[i]) == 0);
        CHECK(ctrd_container_info_status(info)
              == (i ? CTRD_CONTAINER_STATUS_RUNNING : CTRD_CONTAINER_STATUS_CREATED));
        CHECK(ctrd_container_info_cleanup(info) == (i ? CTRD_CLEANUP_KEEP : CTRD_CLEANUP_ALL));
        CHECK(ctrd_container_info_pid(info) != 0);
    }
    CHECK(ctrd_container_info_list_get(list, 2) == NULL);
    ctrd_container_info_list_free(list);

    OK(ctrd_list_containers(client, filters, 2, NULL, &list, &err));
    CHECK(ctrd_container_info_list_len(list) == 1);
    CHECK(strcmp(ctrd_container_info_id(ctrd_container_info_list_get(list, 0)), "b") == 0);
    ctrd_container_info_list_free(list);
    OK(ctrd_list_containers(client, filters + 1, 1, NULL, &list, &err));
    CHECK(list != NULL && ctrd_container_info_list_len(list) == 0);
    ctrd_container_info_list_free(list);
    elsewhere.namespace_name = "nothing-is-here";
    OK(ctrd_list_containers(client, NULL, 0, &elsewhere, &list, &err));
    CHECK(ctrd_container_info_list_len(list) == 0);
    ctrd_container_info_list_free(list);
    owned();
    REFUSES("filters[1]", ctrd_list_containers(client, bad, 2, NULL, &list, &err));
    CHECK(list == NULL);
    for (i = 0; i < 2; i++)
        OK(ctrd_destroy_container(client, ids[i], &at_once, NULL, NULL, &err));
}

/* Messages and infos of one container have one generation; the next container of the id has another. */
static void generations(void)
{
    const char *id = test_id("c");
    uint64_t before = 0;
    int i;

    for (i = 0; i < 2; i++) {
        ctrd_message_t *probed = NULL, *last = NULL;
        ctrd_container_info_t *info;
        uint64_t generation;
        ctrd_process_t process = {0, 0, 0};

        create(id, "exit 0", NULL, 0, CTRD_CLEANUP_KEEP, &process);
        info = look_up(id);
        generation = ctrd_container_info_generation(info);
        ctrd_container_info_free(info);
        CHECK(generation != 0 && generation != before && process.generation == generation);
        OK(ctrd_probe(client, id, NULL, NULL, &soon, &probed, &err));
        OK(ctrd_destroy_container(client, id, NULL, NULL, &last, &err));
        CHECK(ctrd_message_generation(probed) == generation);
        CHECK(ctrd_message_generation(last) == generation);
        CHECK(process.pid != 0 && process.reserved == 0);
        CHECK(ctrd_message_pid(probed) == process.pid && ctrd_message_pid(last) == process.pid);
        ctrd_message_free(probed);
        ctrd_message_free(last);
        before = generation;
    }
}

/* Gives the completion of the call that was submitted. */
static ctrd_message_t *completion(ctrd_queue_t *queue)
{
    ctrd_message_t *done = NULL;

    OK(ctrd_queue_next(queue, &soon, &done, &err));
    CHECK(ctrd_message_kind(done) == CTRD_KIND_DONE);
    CHECK(ctrd_message_pid(done) == 0 && ctrd_message_generation(done) == 0);
    return done;
}

static void submitted(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_queue_t *queue = NULL;
    ctrd_message_t *done;
    ctrd_container_info_t *info = NULL;
    ctrd_container_info_list_t *list = NULL;

    create("one", "exit 0", NULL, CTRD_CONTAINER_NO_START, CTRD_CLEANUP_KEEP, NULL);
    OK(ctrd_queue_new(NULL, &queue, &err));
    call.queue = queue;
    OK(ctrd_get_container(client, "one", &call, NULL, &err));
    done = completion(queue);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_message_take_container_info_list(done, &list, &err));
    OK(ctrd_message_take_container_info(done, &info, &err));
    CHECK(strcmp(ctrd_container_info_id(info), "one") == 0);
    ctrd_container_info_free(info);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_message_take_container_info(done, &info, &err));
    CHECK(info == NULL);
    ctrd_message_free(done);

    OK(ctrd_list_containers(client, NULL, 0, &call, NULL, &err));
    done = completion(queue);
    OK(ctrd_message_take_container_info_list(done, &list, &err));
    CHECK(ctrd_container_info_list_len(list) == 1);
    ctrd_container_info_list_free(list);
    ctrd_message_free(done);

    OK(ctrd_get_container(client, "nobody", &call, NULL, &err));
    done = completion(queue);
    CHECK(ctrd_message_status(done) == CTRD_E_NOT_FOUND);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_message_take_container_info(done, &info, &err));
    ctrd_message_free(done);
    ctrd_queue_free(queue);
    OK(ctrd_destroy_container(client, "one", NULL, NULL, NULL, &err));
}

static void refusals(void)
{
    ctrd_container_info_t *info = (ctrd_container_info_t *)&err;
    ctrd_container_info_list_t *list = (ctrd_container_info_list_t *)&err;

    REFUSES("client", ctrd_get_container(NULL, "x", NULL, &info, &err));
    CHECK(info == NULL);
    REFUSES("id", ctrd_get_container(client, NULL, NULL, &info, &err));
    REFUSES("id", ctrd_get_container(client, "a/b", NULL, &info, &err));
    REFUSES("out", ctrd_get_container(client, "x", NULL, NULL, &err));
    REFUSES("client", ctrd_list_containers(NULL, NULL, 0, NULL, &list, &err));
    CHECK(list == NULL);
    REFUSES("filters", ctrd_list_containers(client, NULL, 1, NULL, &list, &err));
    REFUSES("out", ctrd_list_containers(client, NULL, 0, NULL, NULL, &err));
    REFUSES("message", ctrd_message_take_container_info(NULL, &info, &err));
    REFUSES("message", ctrd_message_take_container_info_list(NULL, &list, &err));
}

int main(void)
{
    snprintf(namespace_name, sizeof namespace_name, "info-%ld", (long)getpid());
    client = test_client_in(namespace_name);
    image = test_image(client);
    record();
    statuses();
    lists();
    generations();
    submitted();
    refusals();
    OK(ctrd_remove_image(client, image, CTRD_REMOVE_IMAGE_SYNC, NULL, &err));
    ctrd_client_free(client);
    return 0;
}
