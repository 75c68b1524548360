/* What containers use of the machine. */
#include "test.h"

#include <signal.h>

static ctrd_client_t *client;
static const char *image;

/* A namespace of its own, because all its containers are listed. */
static char namespace_name[64];

static ctrd_stats_t *look(const char *id)
{
    ctrd_stats_t *stats = NULL;

    OK(ctrd_container_stats(client, id, &soon, &stats, &err));
    CHECK(stats != NULL && strcmp(ctrd_stats_container_id(stats), id) == 0);
    CHECK(ctrd_stats_error(stats) == NULL);
    return stats;
}

static uint64_t figure(const char *id, uint32_t stat)
{
    ctrd_stats_t *stats = look(id);
    uint64_t value = 0;

    (void)ctrd_stats_get(stats, stat, &value);
    ctrd_stats_free(stats);
    return value;
}

/* Waits until a figure is at least this. */
static void reaches(const char *id, uint32_t stat, uint64_t value)
{
    int64_t deadline = test_now_ms() + 30000;

    while (figure(id, stat) < value) {
        CHECK(test_now_ms() < deadline);
        test_sleep_ms(20);
    }
}

static void figures(void)
{
    const char *id = test_create(client, image,
                                 "dd if=/dev/zero of=/dev/shm/x bs=1M count=8 2>/dev/null; "
                                 "while :; do :; done",
                                 NULL, 0, NULL);
    ctrd_stats_t *stats;
    ctrd_time_t time_of = {0, 0, 0};
    uint64_t value = 77, usage = 0, set = 0;
    char member[64];
    uint32_t stat;
    int count = 0;

    reaches(id, CTRD_STAT_MEMORY_FILE_BYTES, 8 << 20);
    reaches(id, CTRD_STAT_CPU_USAGE_NS, 50 * 1000 * 1000);
    stats = look(id);
    CHECK(ctrd_stats_get(stats, CTRD_STAT_PIDS_CURRENT, &value) == 1 && value == 1);
    CHECK(ctrd_stats_get(stats, CTRD_STAT_MEMORY_USAGE_BYTES, &usage) == 1 && usage > 8 << 20);
    CHECK(ctrd_stats_get(stats, CTRD_STAT_MEMORY_WORKING_SET_BYTES, &set) == 1);
    CHECK(set > 0 && set <= usage);

    /* There is no limit, and the output stays as it was. */
    value = 77;
    CHECK(ctrd_stats_get(stats, CTRD_STAT_MEMORY_LIMIT_BYTES, &value) == 0 && value == 77);
    CHECK(ctrd_stats_get(stats, CTRD_STAT_PIDS_LIMIT, &value) == 0 && value == 77);
    CHECK(ctrd_stats_get(stats, 0, &value) == 0 && value == 77);
    CHECK(ctrd_stats_get(stats, 1000000, &value) == 0 && value == 77);
    CHECK(ctrd_stats_get(stats, CTRD_STAT_CPU_USAGE_NS, NULL) == 1);

    /* The JSON has the figures under their names, and no others. */
    for (stat = 1; ctrd_stat_name(stat)[0] != '\0'; stat++) {
        int is_there = ctrd_stats_get(stats, stat, NULL);

        snprintf(member, sizeof member, "\"%s\":", ctrd_stat_name(stat));
        CHECK((strstr(ctrd_stats_json(stats), member) != NULL) == is_there);
        count += is_there;
    }
    CHECK(stat == CTRD_STAT_IO_PRESSURE_FULL_NS + 1 && count > 25);
    CHECK(strcmp(ctrd_stat_name(CTRD_STAT_CPU_USAGE_NS), "cpu_usage_ns") == 0);
    CHECK(strcmp(ctrd_stat_name(0), "") == 0);

    CHECK(ctrd_stats_time(stats, &time_of) == 1 && time_of.seconds > time(NULL) - 60);
    CHECK(ctrd_stats_cgroup_version(stats) == 1 || ctrd_stats_cgroup_version(stats) == 2);
    snprintf(member, sizeof member, "io.containerd.cgroups.v%u.Metrics",
             (unsigned)ctrd_stats_cgroup_version(stats));
    CHECK(strcmp(ctrd_stats_raw_type(stats), member) == 0);
    CHECK(ctrd_stats_raw_len(stats) > 100 && ctrd_stats_raw_data(stats) != NULL);
    /* It stays as it was when the container is gone. */
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
    CHECK(ctrd_stats_get(stats, CTRD_STAT_PIDS_CURRENT, &value) == 1 && value == 1);
    ctrd_stats_free(stats);
    FAILS(CTRD_E_NOT_FOUND, ctrd_container_stats(client, id, NULL, &stats, &err));
    CHECK(stats == NULL);
}

static void ended(void)
{
    const char *id = test_create(client, image, "exit 0", NULL, 0, NULL);
    ctrd_stats_t *stats = NULL;
    ctrd_stats_list_t *list = NULL;

    OK(ctrd_probe(client, id, NULL, NULL, &soon, NULL, &err));
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_container_stats(client, id, NULL, &stats, &err));
    OK(ctrd_list_stats(client, &id, 1, NULL, &list, &err));
    CHECK(ctrd_stats_list_len(list) == 0);
    ctrd_stats_list_free(list);
    OK(ctrd_destroy_container(client, id, NULL, NULL, NULL, &err));
}

/* The process id of a process's parent. */
static pid_t parent_of(uint32_t pid)
{
    char path[64], text[1024];
    FILE *file;
    size_t len;
    int parent = 0;

    snprintf(path, sizeof path, "/proc/%u/stat", (unsigned)pid);
    file = fopen(path, "r");
    CHECK(file != NULL);
    len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    CHECK(sscanf(strrchr(text, ')'), ") %*c %d", &parent) == 1 && parent > 1);
    return parent;
}

static void lists(void)
{
    const char *ids[3];
    ctrd_stats_list_t *list = NULL;
    const ctrd_stats_t *stats;
    uint32_t pids[2];
    pid_t shim;
    size_t i;

    for (i = 0; i < 2; i++)
        ids[i] = test_create(client, image, "sleep 1000", NULL, 0, &pids[i]);
    ids[2] = "nobody";
    OK(ctrd_list_stats(client, NULL, 0, NULL, &list, &err));
    CHECK(ctrd_stats_list_len(list) == 2 && ctrd_stats_list_get(list, 2) == NULL);
    for (i = 0; i < 2; i++)
        CHECK(ctrd_stats_get(ctrd_stats_list_get(list, i), CTRD_STAT_CPU_USAGE_NS, NULL) == 1);
    ctrd_stats_list_free(list);
    OK(ctrd_list_stats(client, ids + 1, 2, NULL, &list, &err));
    CHECK(ctrd_stats_list_len(list) == 1);
    CHECK(strcmp(ctrd_stats_container_id(ctrd_stats_list_get(list, 0)), ids[1]) == 0);
    ctrd_stats_list_free(list);

    /* One whose shim does not answer is unknown. */
    shim = parent_of(pids[0]);
    CHECK(kill(shim, SIGSTOP) == 0);
    OK(ctrd_list_stats(client, ids, 2, &soon, &list, &err));
    CHECK(kill(shim, SIGCONT) == 0);
    CHECK(ctrd_stats_list_len(list) == 2);
    for (i = 0; i < 2; i++) {
        stats = ctrd_stats_list_get(list, i);
        if (strcmp(ctrd_stats_container_id(stats), ids[0]) != 0) {
            CHECK(ctrd_stats_error(stats) == NULL);
            CHECK(ctrd_stats_get(stats, CTRD_STAT_PIDS_CURRENT, NULL) == 1);
            continue;
        }
        CHECK(ctrd_error_status(ctrd_stats_error(stats)) == CTRD_E_UNAVAILABLE);
        CHECK(strcmp(ctrd_error_subject(ctrd_stats_error(stats)), ids[0]) == 0);
        CHECK(ctrd_stats_get(stats, CTRD_STAT_PIDS_CURRENT, NULL) == 0);
        CHECK(ctrd_stats_cgroup_version(stats) == 0 && ctrd_stats_time(stats, NULL) == 0);
        CHECK(ctrd_stats_raw_data(stats) == NULL && ctrd_stats_raw_len(stats) == 0);
        CHECK(strcmp(ctrd_stats_raw_type(stats), "") == 0);
        CHECK(strstr(ctrd_stats_json(stats), "\"error\":") != NULL);
    }
    ctrd_stats_list_free(list);
    for (i = 0; i < 2; i++)
        OK(ctrd_destroy_container(client, ids[i], &at_once, NULL, NULL, &err));
}

static void submitted(void)
{
    const char *id = test_create(client, image, "sleep 1000", NULL, 0, NULL);
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_queue_t *queue = test_queue();
    ctrd_message_t *done;
    ctrd_stats_t *stats = NULL;
    ctrd_stats_list_t *list = NULL;

    call.queue = queue;
    OK(ctrd_container_stats(client, id, &call, NULL, &err));
    done = test_next(queue, CTRD_KIND_DONE);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_message_take_stats_list(done, &list, &err));
    OK(ctrd_message_take_stats(done, &stats, &err));
    CHECK(strcmp(ctrd_stats_container_id(stats), id) == 0);
    ctrd_stats_free(stats);
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_message_take_stats(done, &stats, &err));
    CHECK(stats == NULL);
    ctrd_message_free(done);

    OK(ctrd_list_stats(client, NULL, 0, &call, NULL, &err));
    done = test_next(queue, CTRD_KIND_DONE);
    OK(ctrd_message_take_stats_list(done, &list, &err));
    CHECK(ctrd_stats_list_len(list) == 1);
    ctrd_stats_list_free(list);
    ctrd_message_free(done);

    /* A result that nobody takes is released. */
    OK(ctrd_list_stats(client, NULL, 0, &call, NULL, &err));
    ctrd_message_free(test_next(queue, CTRD_KIND_DONE));
    ctrd_queue_free(queue);
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
}

static void refusals(void)
{
    ctrd_stats_t *stats = (ctrd_stats_t *)&err;
    ctrd_stats_list_t *list = (ctrd_stats_list_t *)&err;
    const char *ids[2] = {"a", "b/c"};

    REFUSES("client", ctrd_container_stats(NULL, "x", NULL, &stats, &err));
    CHECK(stats == NULL);
    REFUSES("id", ctrd_container_stats(client, NULL, NULL, &stats, &err));
    REFUSES("id", ctrd_container_stats(client, "a/b", NULL, &stats, &err));
    REFUSES("out", ctrd_container_stats(client, "x", NULL, NULL, &err));
    REFUSES("client", ctrd_list_stats(NULL, NULL, 0, NULL, &list, &err));
    CHECK(list == NULL);
    REFUSES("ids", ctrd_list_stats(client, NULL, 1, NULL, &list, &err));
    REFUSES("ids[1]", ctrd_list_stats(client, ids, 2, NULL, &list, &err));
    REFUSES("out", ctrd_list_stats(client, NULL, 0, NULL, NULL, &err));
    REFUSES("message", ctrd_message_take_stats(NULL, &stats, &err));
    REFUSES("message", ctrd_message_take_stats_list(NULL, &list, &err));
}

int main(void)
{
    snprintf(namespace_name, sizeof namespace_name, "stats-%ld", (long)getpid());
    client = test_client_in(namespace_name);
    image = test_image(client);
    figures();
    ended();
    lists();
    submitted();
    refusals();
    OK(ctrd_remove_image(client, image, CTRD_REMOVE_IMAGE_SYNC, NULL, &err));
    ctrd_client_free(client);
    return 0;
}
