// The tables of the job store and how an older store becomes a newer one. Private to the store.
// Threads: as the database's.
#pragma once

#include "coordinator/store/database.h"

namespace seamwright::coordinator {

// Brings the store to kStoreVersion, one version at a time, each in a transaction of its own.
void migrate(Database& db);

}  // namespace seamwright::coordinator
