/* A program that exits while calls and hooks run ends with its own exit code, and prints nothing. */
#include "test.h"

#include <pthread.h>

static ctrd_client_t *client;
static ctrd_queue_t *queue;
static ctrd_subscription_t *subscription;
static const char *id;

/* Held here, it is not lost to a child that ends. */
static char *path;

static void *ask(void *unused)
{
    ctrd_version_info_t *version;

    (void)unused;
    while (ctrd_version(client, NULL, &version, NULL) == CTRD_OK)
        ctrd_version_info_free(version);
    return NULL;
}

static void *wait_for_exit(void *unused)
{
    (void)unused;
    CHECK(ctrd_probe(client, id, NULL, NULL, NULL, NULL, NULL) != CTRD_E_INVALID_ARGUMENT);
    return NULL;
}

static void ignore(void *userdata, const ctrd_message_t *message)
{
    (void)userdata;
    (void)message;
    test_sleep_ms(1);
}

static void be_busy_and_end(const char *container, int code)
{
    pthread_t thread;
    ctrd_call_t submitted = CTRD_CALL_INIT;
    int i;

    id = container;
    client = test_client();
    test_add_hook(client, CTRD_KIND_EVENT, NULL, CTRD_HOOK_THREAD, ignore, NULL, NULL);
    queue = test_queue();
    subscription = test_subscribe(queue, client, CTRD_KIND_EXIT | CTRD_KIND_EVENT, NULL, 0);
    submitted.queue = queue;
    for (i = 0; i < 4; i++) {
        CHECK(pthread_create(&thread, NULL, ask, NULL) == 0);
        CHECK(pthread_create(&thread, NULL, wait_for_exit, NULL) == 0);
        OK(ctrd_probe(client, id, NULL, NULL, &submitted, NULL, &err));
    }
    test_sleep_ms(50);
    exit(code);
}

int main(void)
{
    const char *container, *image;
    int i;

    path = test_path("said");
    /* Before a client is opened here: a child could not open one then. */
    for (i = 0; i < 10; i++) {
        struct stat said;
        int status, file;
        pid_t child = fork();

        CHECK(child >= 0);
        if (child == 0) {
            file = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
            CHECK(file >= 0 && dup2(file, 1) == 1 && dup2(file, 2) == 2);
            client = test_client();
            image = test_image(client);
            container = test_create(client, image, "sleep 1000", NULL, 0, NULL);
            if (i % 2)
                OK(ctrd_destroy_container(client, container, &at_once, NULL, NULL, &err));
            ctrd_client_free(client);
            be_busy_and_end(container, 10 + i);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 10 + i);
        CHECK(stat(path, &said) == 0 && said.st_size == 0);
    }
    unlink(path);
    free(path);
    return 0;
}
