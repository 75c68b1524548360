/* Standard streams: descriptors, which stay the caller's, and paths. */
#include "test.h"

static ctrd_client_t *client;
static const char *image;

/* Runs a shell command with these streams to its end, and gives its exit code. */
static uint32_t run(const char *command, const ctrd_io_t *io)
{
    ctrd_message_t *message = NULL;
    uint32_t code = 0;
    const char *id = test_create(client, image, command, io, 0, NULL);

    OK(ctrd_probe(client, id, NULL, NULL, &soon, NULL, &err));
    OK(ctrd_destroy_container(client, id, NULL, NULL, &message, &err));
    CHECK(ctrd_message_exit_code(message, &code) == 1);
    ctrd_message_free(message);
    return code;
}

/* What is to be read from a descriptor until its end, which comes when everybody has closed it. */
static char *read_all(int fd)
{
    static char text[4096];
    size_t length = 0;
    ssize_t count;

    while ((count = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)count;
    CHECK(count == 0);
    text[length] = 0;
    close(fd);
    return text;
}

static void descriptors(void)
{
    ctrd_io_t io = CTRD_IO_INIT;
    int in[2], out[2], problems[2], flags;

    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    CHECK(pipe2(problems, O_CLOEXEC) == 0);
    io.stdin_kind = io.stdout_kind = io.stderr_kind = CTRD_IO_FD;
    io.stdin_fd = in[0];
    io.stdout_fd = out[1];
    io.stderr_fd = problems[1];
    flags = fcntl(out[1], F_GETFL);

    CHECK(write(in[1], "some input\n", 11) == 11);
    close(in[1]);
    CHECK(run("cat; echo a problem >&2; exit 3", &io) == 3);

    /* They are still open, and as they were. */
    CHECK(fcntl(out[1], F_GETFL) == flags);
    CHECK(write(out[1], "ours\n", 5) == 5);
    close(in[0]);
    close(out[1]);
    close(problems[1]);
    CHECK(strcmp(read_all(out[0]), "some input\nours\n") == 0);
    CHECK(strcmp(read_all(problems[0]), "a problem\n") == 0);
}

static void terminal(void)
{
    ctrd_io_t io = CTRD_IO_INIT;
    int out[2];

    CHECK(pipe2(out, O_CLOEXEC) == 0);
    io.terminal = 1;
    io.stdout_kind = CTRD_IO_FD;
    io.stdout_fd = out[1];
    CHECK(run("test -t 1 && echo terminal; echo both >&2", &io) == 0);
    close(out[1]);
    CHECK(strcmp(read_all(out[0]), "terminal\r\nboth\r\n") == 0);
}

static void paths(void)
{
    ctrd_io_t io = CTRD_IO_INIT;
    char *path = test_path("output");
    char uri[512];

    snprintf(uri, sizeof uri, "file://%s", path);
    io.stdout_kind = CTRD_IO_PATH;
    io.stdout_path = uri;
    CHECK(run("echo to a file", &io) == 0);
    CHECK(strcmp(read_all(open(path, O_RDONLY | O_CLOEXEC)), "to a file\n") == 0);
    unlink(path);
    free(path);
}

int main(void)
{
    client = test_client();
    image = test_image(client);
    descriptors();
    terminal();
    paths();
    ctrd_client_free(client);
    return 0;
}
