/* Every descriptor of the library's is close-on-exec, and a client gives back what it took. */
#include "test.h"

#include <dirent.h>
#include <sys/resource.h>

/* How many descriptors there are; those from `first` on must be close-on-exec. */
static int descriptors(int first)
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
        if (fd >= first) {
            int flags = fcntl(fd, F_GETFD);

            if (!(flags & FD_CLOEXEC)) {
                char link[64], target[256] = "";

                snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
                CHECK(readlink(link, target, sizeof target - 1) > 0);
                fprintf(stderr, "descriptor %d (%s) is not close-on-exec\n", fd, target);
                exit(1);
            }
        }
    }
    closedir(directory);
    return count;
}

static void use_client(int first)
{
    ctrd_client_t *client = test_client();
    ctrd_cancel_t *cancel = NULL;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_version_t *version = NULL;

    OK(ctrd_cancel_new(&cancel, &err));
    call.cancel = cancel;
    OK(ctrd_version(client, &call, &version, &err));
    descriptors(first);
    ctrd_version_free(version);
    ctrd_cancel_free(cancel);
    ctrd_client_free(client);
}

int main(void)
{
    int first = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int64_t deadline;
    int before, i;

    CHECK(first >= 0);
    close(first);
    use_client(first);
    /* gRPC keeps some of its own for the process. */
    test_sleep_ms(200);
    before = descriptors(first);
    for (i = 0; i < 20; i++)
        use_client(first);
    /* Its connections are closed on its own thread, a little later. */
    deadline = test_now_ms() + 5000;
    while (descriptors(first) > before && test_now_ms() < deadline)
        test_sleep_ms(20);
    CHECK(descriptors(first) <= before);
    return 0;
}
