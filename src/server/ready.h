// What a service manager is told (sd_notify's protocol); nothing where there is none.
#pragma once

namespace upg::server {

void notify_ready() noexcept;
void notify_stopping() noexcept;

}  // namespace upg::server
