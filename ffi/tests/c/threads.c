/* One client, many threads; and a close while they are at it. */
#include "test.h"

#include <pthread.h>

#define THREADS 16

static ctrd_client_t *client;

static void *ask(void *unused)
{
    int i;

    for (i = 0; i < 50; i++) {
        ctrd_version_info_t *version = NULL;
        ctrd_error_t *error = NULL;

        CHECK(ctrd_version(client, NULL, &version, &error) == CTRD_OK);
        CHECK(version != NULL && error == NULL);
        ctrd_version_info_free(version);
    }
    return unused;
}

static void *ask_until_closed(void *unused)
{
    for (;;) {
        ctrd_version_info_t *version = NULL;
        ctrd_error_t *error = NULL;
        ctrd_status_t status = ctrd_version(client, NULL, &version, &error);

        ctrd_version_info_free(version);
        ctrd_error_free(error);
        if (status != CTRD_OK) {
            CHECK(status == CTRD_E_CLOSED);
            return unused;
        }
    }
}

int main(void)
{
    pthread_t threads[THREADS];
    int i;

    client = test_client();
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, ask, NULL) == 0);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);

    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, ask_until_closed, NULL) == 0);
    test_sleep_ms(50);
    OK(ctrd_client_close(client, NULL, &err));
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    ctrd_client_free(client);
    return 0;
}
