/* Every descriptor of the library's is close-on-exec, and a client gives back what it took. */
#include "test.h"

#include <dirent.h>
#include <sys/resource.h>

/* How many descriptors there are. Beyond the first three each must be close-on-exec. */
static int descriptors(void)
{
    struct rlimit limit;
    struct dirent *entry;
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    CHECK(directory != NULL);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    while ((entry = readdir(directory)) != NULL) {
        int fd = atoi(entry->d_name);

        /* Beyond the limit are valgrind's. */
        if (entry->d_name[0] == '.' || fd == dirfd(directory) || (rlim_t)fd >= limit.rlim_cur)
            continue;
        count++;
        if (fd > 2 && !(fcntl(fd, F_GETFD) & FD_CLOEXEC)) {
            char link[64], target[256] = "";

            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            CHECK(readlink(link, target, sizeof target - 1) > 0);
            fprintf(stderr, "descriptor %d (%s) is not close-on-exec\n", fd, target);
            exit(1);
        }
    }
    closedir(directory);
    return count;
}

/* Cancel handles, and calls that have one each, take no descriptor. */
static void cancel_handles(ctrd_client_t *client, ctrd_queue_t *queue)
{
    enum { MANY = 100 };
    ctrd_cancel_t *handles[MANY];
    ctrd_call_t call = CTRD_CALL_INIT;
    int before = descriptors(), i;

    call.queue = queue;
    for (i = 0; i < MANY; i++) {
        OK(ctrd_cancel_new(&handles[i], &err));
        call.cancel = handles[i];
        OK(ctrd_version(client, &call, NULL, &err));
    }
    CHECK(descriptors() <= before);
    for (i = 0; i < MANY; i++) {
        ctrd_message_free(test_next(queue, CTRD_KIND_DONE));
        ctrd_cancel_free(handles[i]);
    }
}

static void use_client(void)
{
    ctrd_client_t *client = test_client();
    ctrd_cancel_t *cancel = NULL;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_version_info_t *version = NULL;
    ctrd_subscription_t *subscription;
    ctrd_queue_t *queue, *calls = test_queue();

    OK(ctrd_cancel_new(&cancel, &err));
    call.cancel = cancel;
    OK(ctrd_version(client, &call, &version, &err));
    queue = test_queue();
    subscription = test_subscribe(queue, client, CTRD_KIND_EVENT, NULL, 0);
    call.queue = calls;
    OK(ctrd_version(client, &call, NULL, &err));
    ctrd_message_free(test_next(calls, CTRD_KIND_DONE));
    CHECK(ctrd_queue_fd(queue) >= 0);
    CHECK(ctrd_dispatch_fd(client) >= 0);
    cancel_handles(client, calls);
    ctrd_queue_free(calls);
    descriptors();
    ctrd_version_info_free(version);
    ctrd_cancel_free(cancel);
    ctrd_client_free(client);
    ctrd_queue_free(queue);
    ctrd_subscription_free(subscription);
}

int main(void)
{
    int64_t deadline;
    int before, i;

    /* What the program was started with. */
    for (i = 3; i < 256; i++)
        close(i);
    use_client();
    /* gRPC keeps some of its own for the process. */
    test_sleep_ms(200);
    before = descriptors();
    for (i = 0; i < 20; i++)
        use_client();
    /* Its connections are closed on its own thread, a little later. */
    deadline = test_now_ms() + 5000;
    while (descriptors() > before && test_now_ms() < deadline)
        test_sleep_ms(20);
    CHECK(descriptors() <= before);
    return 0;
}
