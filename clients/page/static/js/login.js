// SPDX-License-Identifier: Apache-2.0
// The login form.

const form = document.getElementById("login");
const error = document.getElementById("error");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  error.textContent = "";
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user: form.user.value, password: form.password.value }),
    });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    error.textContent = sentence((await answer.json()).error);
  } catch {
    error.textContent = "The page cannot be reached. Try again.";
  }
  form.password.value = "";
  form.password.focus();
  button.disabled = false;
});

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
