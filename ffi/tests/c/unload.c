/* The library may be loaded and closed any number of times. */
#include "test.h"

#include <dirent.h>
#include <dlfcn.h>

typedef ctrd_status_t (*open_fn)(const ctrd_client_config_t *, const ctrd_call_t *,
                                 ctrd_client_t **, ctrd_error_t **);
typedef void (*free_fn)(ctrd_client_t *);

static int threads(void)
{
    DIR *directory = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;

    CHECK(directory != NULL);
    while ((entry = readdir(directory)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

/* ISO C has no conversion from an object's pointer to a function's. */
static void *symbol(void *library, const char *name, void *function, size_t size)
{
    void *found = dlsym(library, name);

    CHECK(found != NULL);
    memcpy(function, &found, size);
    return found;
}

int main(void)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    /* Everything is slow under valgrind. */
    int first = 0, rounds = getenv("CTRD_TEST_SLOW") != NULL ? 50 : 1000, i;

    config.address = test_environment("CTRD_TEST_ADDRESS");
    for (i = 0; i < rounds; i++) {
        void *library = dlopen("libctrd.so.0", RTLD_NOW | RTLD_LOCAL);
        ctrd_client_t *client = NULL;
        open_fn open_client;
        free_fn free_client;

        if (library == NULL) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        symbol(library, "ctrd_client_open", &open_client, sizeof open_client);
        symbol(library, "ctrd_client_free", &free_client, sizeof free_client);
        CHECK(open_client(&config, NULL, &client, NULL) == CTRD_OK);
        free_client(client);
        CHECK(dlclose(library) == 0);
        if (i == 0)
            first = threads();
    }
    /* A thread that has ended is gone a little later; and gRPC's core has one or two more at times. */
    first += 2;
    for (i = 0; i < 100 && threads() > first; i++)
        test_sleep_ms(50);
    CHECK(threads() <= first);
    return 0;
}
