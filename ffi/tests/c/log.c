/* The log hook: its level, its end, and what may be done inside. */
#include "test.h"

#include <pthread.h>

struct seen {
    int records, destroyed, refused;
    uint32_t gravest, slightest;
    ctrd_client_t *client;
};

static void on_log(void *userdata, uint32_t level, const char *target, const char *message)
{
    struct seen *seen = userdata;
    ctrd_version_info_t *version = NULL;

    __atomic_add_fetch(&seen->records, 1, __ATOMIC_SEQ_CST);
    if (level < seen->gravest)
        seen->gravest = level;
    if (level > seen->slightest)
        seen->slightest = level;
    CHECK(*target != 0 && message != NULL);
    if (ctrd_version(seen->client, NULL, &version, NULL) == CTRD_E_REENTRANT)
        __atomic_add_fetch(&seen->refused, 1, __ATOMIC_SEQ_CST);
}

static void on_destroy(void *userdata)
{
    struct seen *seen = userdata;

    __atomic_add_fetch(&seen->destroyed, 1, __ATOMIC_SEQ_CST);
}

static const char *awaited;
static int heard;

static void on_line(void *userdata, uint32_t level, const char *target, const char *message)
{
    CHECK(userdata == NULL && target != NULL);
    if (strstr(message, awaited) != NULL && level == CTRD_LOG_INFO)
        __atomic_add_fetch(&heard, 1, __ATOMIC_SEQ_CST);
}

/* The main operations are logged when they end. */
static void main_operations(void)
{
    ctrd_client_t *client;

    awaited = "client_open";
    OK(ctrd_set_log_hook(CTRD_LOG_INFO, on_line, NULL, NULL, &err));
    client = test_client();
    CHECK(heard == 1);
    awaited = "client_close";
    OK(ctrd_client_close(client, NULL, &err));
    CHECK(heard == 2);
    ctrd_client_free(client);
    OK(ctrd_set_log_hook(CTRD_LOG_OFF, NULL, NULL, NULL, &err));
}

int main(void)
{
    static struct seen first = {0, 0, 0, 99, 0, NULL}, second = {0, 0, 0, 99, 0, NULL};

    /* Refused, and destroyed all the same. */
    REFUSES("level", ctrd_set_log_hook(17, on_log, &first, on_destroy, &err));
    CHECK(first.destroyed == 1);
    /* Nothing to set: the same. */
    OK(ctrd_set_log_hook(CTRD_LOG_TRACE, NULL, &first, on_destroy, &err));
    CHECK(first.destroyed == 2);
    OK(ctrd_set_log_hook(CTRD_LOG_OFF, on_log, &first, on_destroy, &err));
    CHECK(first.destroyed == 3);

    first.client = test_client();
    OK(ctrd_set_log_hook(CTRD_LOG_DEBUG, on_log, &first, on_destroy, &err));
    CHECK(first.destroyed == 3);
    /* A call that fails is logged, and none may be made meanwhile. */
    FAILS(CTRD_E_NOT_FOUND, ctrd_probe(first.client, "nobody", NULL, NULL, NULL, NULL, &err));
    CHECK(first.records >= 1 && first.refused == first.records);
    CHECK(first.gravest >= CTRD_LOG_ERROR && first.slightest == CTRD_LOG_DEBUG);
    /* The one takes the other's place. */
    second.client = first.client;
    OK(ctrd_set_log_hook(CTRD_LOG_WARN, on_log, &second, on_destroy, &err));
    CHECK(first.destroyed == 4 && second.destroyed == 0);
    FAILS(CTRD_E_NOT_FOUND, ctrd_probe(first.client, "nobody", NULL, NULL, NULL, NULL, &err));
    CHECK(second.records == 0);
    OK(ctrd_set_log_hook(CTRD_LOG_OFF, NULL, NULL, NULL, &err));
    CHECK(second.destroyed == 1);
    ctrd_client_free(first.client);
    main_operations();
    return 0;
}
