/* A host that may make few threads more: a client is opened whole, or is refused. */
#include "test.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/types.h>

typedef int create_t(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/* How many threads were made and have not ended, and how many there may be; -1: any number. */
static int alive, most = -1;

struct thread {
    void *(*start)(void *);
    void *argument;
};

static void *run(void *given)
{
    struct thread thread = *(struct thread *)given;
    void *result;

    free(given);
    result = thread.start(thread.argument);
    __sync_fetch_and_sub(&alive, 1);
    return result;
}

/* Replaces the function of the C library, for libctrd as well. */
int pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    int now = __sync_add_and_fetch(&alive, 1), limit = __sync_fetch_and_add(&most, 0), error = EAGAIN;
    struct thread *thread = malloc(sizeof *thread);
    create_t *create;

    if (thread != NULL && (limit < 0 || now <= limit)) {
        thread->start = start;
        thread->argument = argument;
        *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
        error = create(id, attributes, run, thread);
    }
    if (error != 0) {
        free(thread);
        __sync_fetch_and_sub(&alive, 1);
    }
    return error;
}

static void use(ctrd_client_t *client)
{
    ctrd_version_info_t *version = NULL;

    OK(ctrd_version(client, NULL, &version, &err));
    ctrd_version_info_free(version);
    ctrd_client_free(client);
}

/* Opens a client while only this many threads more can be made. Returns whether it opened. */
static int open_with(int threads, int second)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_client_t *client = NULL;
    ctrd_status_t status;
    int opened;

    config.address = test_environment("CTRD_TEST_ADDRESS");
    if (second) {
        OK(ctrd_client_open(&config, NULL, &client, &err));
        use(client);
    }
    most = __sync_fetch_and_add(&alive, 0) + threads;
    status = ctrd_client_open(&config, NULL, &client, &err);
    opened = status == CTRD_OK;
    if (opened) {
        use(client);
    } else {
        CHECK(status == CTRD_E_IO && strstr(ctrd_error_message(err), "thread") != NULL);
        ctrd_error_free(err);
        err = NULL;
    }
    /* Once there are threads again, it is as if nothing had been. */
    most = -1;
    OK(ctrd_client_open(&config, NULL, &client, &err));
    use(client);
    return opened;
}

int main(void)
{
    int step = getenv("CTRD_TEST_SLOW") != NULL ? 8 : 1;
    int second, threads, opened;

    for (second = 0; second < 2; second++) {
        for (threads = 0, opened = 0; !opened; threads += step) {
            int status = 0;
            pid_t child = fork();

            CHECK(child >= 0 && threads < 100);
            if (child == 0) {
                /* What hangs is ended. */
                alarm(60);
                exit(open_with(threads, second) ? 0 : 2);
            }
            CHECK(waitpid(child, &status, 0) == child);
            CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2));
            opened = WEXITSTATUS(status) == 0;
        }
        CHECK(threads > step);
    }
    return 0;
}
