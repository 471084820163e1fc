/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIGHTLINE_FORWARD_H
#define SIGHTLINE_FORWARD_H

/* Backends leave their TRITON* symbols undefined and find them in the global scope. Opening libtritonserver with
 * RTLD_GLOBAL would put its libraries (OpenSSL, curl, XML) there too, before those of other packages in this process,
 * such as PyAV's. So the library stays local, and this module offers its functions under their names instead: each is
 * an indirect function that the loader replaces by the library's own when it links a backend. */

/* Take the functions from the opened library and put this module into the global scope. NULL, or dlerror's text. */
const char *triton_forward(void *library);

#endif
