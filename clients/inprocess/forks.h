/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIGHTLINE_FORKS_H
#define SIGHTLINE_FORKS_H

/* From now on one fork of this process after the other, together with the handlers that other libraries have registered
 * so far. The Python backend forks on several threads at once, for which gRPC's handlers abort the process. */
void sl_forks_in_turn(void);

#endif
