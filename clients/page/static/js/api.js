// SPDX-License-Identifier: Apache-2.0
// The server's HTTP API.

export class ApiError extends Error {
  constructor(status, text, problems = []) {
    super(text);
    this.status = status;
    this.problems = problems;
  }
}

export async function api(path, { method = "GET", body } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(0, "Sightline cannot be reached; the page tries again by itself");
  }
  if (answer.status === 401) location.replace("/login");
  const document_ = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(answer.status, document_.error ?? `the server answered ${answer.status}`, document_.problems);
  return document_;
}

export const cameraPath = (name) => `/api/cameras/${encodeURIComponent(name)}`;
export const mediaPath = (path) => `/media/${path.split("/").map(encodeURIComponent).join("/")}`;
