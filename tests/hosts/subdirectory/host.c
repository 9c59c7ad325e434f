#include <lightcap.h>

/* A library's only function. */
const char* host_version(void);
const char* host_version(void) { return lightcap_version(); }
