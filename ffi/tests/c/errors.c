/* An error says what happened. A caller that does not need it gives NULL. */
#include "test.h"

int main(void)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_client_t *client = NULL;
    ctrd_version_info_t *version = NULL;
    const char *path = "/nonexistent/containerd.sock";

    /* What is in the place of the error does not matter: it is set by every call. */
    err = (ctrd_error_t *)&client;
    config.address = path;
    CHECK(ctrd_client_open(&config, NULL, &client, &err) == CTRD_E_NOT_FOUND);
    CHECK(client == NULL);
    CHECK(ctrd_error_status(err) == CTRD_E_NOT_FOUND);
    CHECK(ctrd_error_errno(err) == ENOENT);
    CHECK(ctrd_error_grpc_code(err) == 0);
    CHECK(ctrd_error_flags(err) == 0);
    CHECK(ctrd_error_reason(err) == 0);
    CHECK(strcmp(ctrd_error_operation(err), "client_open") == 0);
    CHECK(strcmp(ctrd_error_subject(err), path) == 0);
    CHECK(strstr(ctrd_error_message(err), path) != NULL);
    CHECK(strstr(ctrd_error_text(err), "client_open /nonexistent/containerd.sock: ") != NULL);
    CHECK(strcmp(ctrd_error_step(err), "") == 0);
    CHECK(strcmp(ctrd_status_name(ctrd_error_status(err)), "CTRD_E_NOT_FOUND") == 0);
    CHECK(strcmp(ctrd_status_name(CTRD_OK), "CTRD_OK") == 0);
    CHECK(strcmp(ctrd_status_name(1), "unknown status") == 0);
    CHECK(ctrd_error_cause(err) == NULL);
    ctrd_error_free(err);

    /* An argument that is refused before the core sees it has the operation's name too. */
    CHECK(ctrd_version(NULL, NULL, &version, &err) == CTRD_E_INVALID_ARGUMENT);
    CHECK(strcmp(ctrd_error_operation(err), "version") == 0);
    CHECK(strcmp(ctrd_error_subject(err), "") == 0);
    CHECK(strcmp(ctrd_error_text(err), "version: client: must not be NULL") == 0);
    ctrd_error_free(err);

    CHECK(ctrd_client_open(&config, NULL, &client, NULL) == CTRD_E_NOT_FOUND);

    client = test_client();
    err = (ctrd_error_t *)&client;
    CHECK(ctrd_version(client, NULL, &version, &err) == CTRD_OK);
    CHECK(err == NULL);
    ctrd_version_info_free(version);

    /* The server's own word. */
    CHECK(ctrd_container_pid(client, "nobody", NULL, (uint32_t *)&config.flags, &err)
          == CTRD_E_NOT_FOUND);
    CHECK(ctrd_error_grpc_code(err) == 5);
    CHECK(ctrd_error_reason(err) == CTRD_REASON_NO_CONTAINER);
    CHECK(ctrd_error_errno(err) == 0);
    CHECK(strcmp(ctrd_error_subject(err), "nobody") == 0);
    ctrd_error_free(err);

    /* After the close. */
    err = NULL;
    OK(ctrd_client_close(client, NULL, &err));
    OK(ctrd_client_close(client, NULL, &err));
    FAILS(CTRD_E_CLOSED, ctrd_version(client, NULL, &version, &err));
    ctrd_client_free(client);
    return 0;
}
