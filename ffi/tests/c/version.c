/* The versions of header, library and server. */
#include "test.h"

int main(void)
{
    ctrd_client_t *client = test_client();
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_version_info_t *version = NULL;

    CHECK(ctrd_library_version_number() == CTRD_VERSION_NUMBER);
    CHECK(CTRD_VERSION_NUMBER
          == CTRD_VERSION_MAJOR * 10000 + CTRD_VERSION_MINOR * 100 + CTRD_VERSION_PATCH);
    CHECK(strcmp(ctrd_library_version(), CTRD_VERSION_STRING) == 0);
    CHECK(ctrd_has_feature("pull") == 1 && ctrd_has_feature("hooks") == 1);
    CHECK(ctrd_has_feature("time travel") == 0);

    OK(ctrd_version(client, NULL, &version, &err));
    CHECK(strchr(ctrd_version_info_version(version), '.') != NULL);
    CHECK(ctrd_version_info_revision(version) != NULL);
    ctrd_version_info_free(version);
    /* What asks the server cannot be done without waiting. */
    call.timeout_ms = CTRD_POLL;
    FAILS(CTRD_E_WOULD_BLOCK, ctrd_version(client, &call, &version, &err));
    ctrd_client_free(client);
    return 0;
}
