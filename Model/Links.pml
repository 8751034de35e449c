/* One blob, the links of two repositories to it, and a manifest of the first repository that lists it: uploads, HEAD,
   mounts, manifests that come, go and come back, and the collectors of links and of blobs, as Sources/Metadata does it on
   PostgreSQL. Where the bytes are is the subject of Objects.pml.

   Each atomic block is one statement, and others run in between. A transaction's writes happen when it commits, which is
   when others see them; until then it holds its rows' locks. Where it would wait for a lock, and where it would commit, it
   may be undone instead: a crash, a deadlock, a timeout. Times are what is left of them, in ticks of a clock that ticks
   whenever it likes.

   README.md says which mistakes -D puts in. */

#ifndef CLIENTS
#define CLIENTS 2
#endif
#define WINDOW 1  /* how long an answer is good for */
#define LEASE  1  /* how long an upload or a mount keeps a link: not less than the window */

typedef Link {
    bit exists, listed;                 /* the row; a manifest's edge to it */
    bit lease, promise;                 /* left of the lease, and of what clients were told */
    byte shared; bit updating, locked;  /* held: KEY SHARE, how often; NO KEY UPDATE; UPDATE */
    bit hint, claimed                   /* a hint that no collector has; one that a collector has */
}
Link link[2];

bit manifestLocked, deleted;  /* of the manifest; what is kept of it when it was deleted */
bit undo;                     /* left of how long its deletion can be undone for certain */

bit blob, blobLocked, blobHint, blobClaimed;
byte blobShared;

#define CAN_SHARE(l)  (!link[l].locked)
#define CAN_UPDATE(l) (!link[l].locked && !link[l].updating)
#define CAN_LOCK(l)   (!link[l].locked && !link[l].updating && link[l].shared == 0)
#define raise(x, y)   x = (x > (y) -> x : (y))

/* ---- What must always hold ---- */

#define EDGES      (!link[0].listed || link[0].exists)
#define LINKS      ((!link[0].exists && !link[1].exists) || blob)
#define PROMISE(l) (!link[l].promise || link[l].exists)
#define UNDO       (!deleted || !undo || link[0].exists)
#define KNOWN(l)   (!link[l].exists || link[l].listed || link[l].hint || link[l].claimed)
#define BLOBKNOWN  (!blob || link[0].exists || link[1].exists || blobHint || blobClaimed)

active proctype Invariants() {
    atomic {
        !(EDGES && LINKS && PROMISE(0) && PROMISE(1) && UNDO && KNOWN(0) && KNOWN(1) && BLOBKNOWN);
        assert(EDGES); assert(LINKS); assert(PROMISE(0) && PROMISE(1)); assert(UNDO); assert(KNOWN(0) && KNOWN(1));
        assert(BLOBKNOWN)
    }
}

active proctype Clock() {
    do
    :: d_step {
        link[0].lease || link[1].lease || link[0].promise || link[1].promise || undo;
        link[0].lease = 0; link[1].lease = 0; link[0].promise = 0; link[1].promise = 0; undo = 0
       }
    od
}

/* ---- Clients: any number of requests, one after the other ---- */

/* What an upload, a mount and an undelete have in common. */
inline makeLink(l) { link[l].exists = 1; raise(link[l].lease, LEASE); link[l].hint = 1 }

proctype Client() {
    bit l, fresh;
again:
    do
    /* -- An upload's commit -- */
    :: /* INSERT INTO blob ON CONFLICT DO NOTHING: waits for whoever inserts or deletes it, locks nothing that was there. */
       atomic {
        !blobLocked;
        if :: l = 0 :: l = 1 fi;
        if :: blob -> fresh = 0 :: else -> fresh = 1; blobLocked = 1 fi
       };
       /* SELECT … FOR KEY SHARE: it may be gone by now. */
       if
       :: fresh
#ifdef DONOTHING
       :: !fresh
#else
       :: atomic { !fresh && !blobLocked && blob -> blobShared++ }
       :: !fresh -> goto done
#endif
       fi;
       if
       :: atomic { CAN_UPDATE(l) -> link[l].updating = 1 }
       :: goto undoBlob
       fi;
       atomic {
        if
        :: link[l].updating = 0; makeLink(l); link[l].promise = WINDOW;
           if :: fresh -> blob = 1 :: else fi
        :: link[l].updating = 0
        fi;
        goto undoBlob
       }

    /* -- HEAD of the blob, answered from a snapshot if that is promise enough -- */
    :: atomic {
        if :: l = 0 :: l = 1 fi;
        link[l].exists;
        if
        :: link[l].lease >= WINDOW || link[l].listed -> link[l].promise = WINDOW; goto done
        :: else
        fi
       };
#ifdef NOEXTEND
       atomic { if :: link[l].exists -> link[l].promise = WINDOW :: else fi; goto done };
#endif
       if
       :: atomic { CAN_UPDATE(l) && link[l].exists -> link[l].updating = 1 }
       :: goto done
       fi;
       atomic {
        link[l].updating = 0;
        if :: link[l].lease = LEASE; link[l].hint = 1; link[l].promise = WINDOW :: skip fi;
        goto done
       }

    /* -- Mount from the first repository to the second -- */
    :: atomic { CAN_SHARE(0) && link[0].exists;
#ifndef MOUNTUNLOCKED
        link[0].shared++
#endif
       };
       /* The foreign key locks the blob. */
#ifndef MOUNTUNLOCKED
       if
       :: atomic { !blobLocked && blob -> blobShared++ }
       :: atomic { link[0].shared--; goto done }
       fi;
#endif
       if
       :: atomic { CAN_UPDATE(1) -> link[1].updating = 1 }
       :: goto undoMount
       fi;
       atomic {
        link[1].updating = 0;
        if :: makeLink(1); link[1].promise = WINDOW :: skip fi;
        goto undoMount
       }

    /* -- PUT of the manifest -- */
    :: atomic { CAN_SHARE(0) && link[0].exists;
#ifndef PUTUNLOCKED
        link[0].shared++
#endif
       };
       if
       :: atomic { !manifestLocked -> manifestLocked = 1 }
       :: goto undoPut
       fi;
       atomic {
        manifestLocked = 0;
        if :: link[0].listed = 1; link[0].promise = WINDOW :: skip fi;
        goto undoPut
       }

    /* -- DELETE of the manifest, by a client or by a rule -- */
    :: atomic { !manifestLocked && link[0].listed -> manifestLocked = 1
#ifdef HINTFIRST
        ; link[0].hint = 1
#endif
       };
       if
       :: atomic { CAN_UPDATE(0) -> link[0].updating = 1 }
       :: atomic { manifestLocked = 0; goto done }
       fi;
       atomic {
        manifestLocked = 0; link[0].updating = 0;
        if
        :: link[0].listed = 0; deleted = 1; undo = WINDOW;
#ifndef NOGRACE
           raise(link[0].lease, WINDOW);
#endif
#if !defined(LOSTHINT) && !defined(HINTFIRST)
           link[0].hint = 1
#endif
        :: skip
        fi
       }

    /* -- Undelete: a push of what was kept, which links the blob again if it is still there -- */
    :: deleted && !link[0].listed && !manifestLocked;
#ifdef RESTOREUNLOCKED
       blob;
#else
       if
       :: atomic { !blobLocked && blob -> blobShared++ }
       :: goto done
       fi;
#endif
       if
       :: atomic { CAN_UPDATE(0) -> link[0].updating = 1 }
       :: goto undoRestore
       fi;
       if
       :: atomic { !manifestLocked -> manifestLocked = 1 }
       :: atomic { link[0].updating = 0; goto undoRestore }
       fi;
       atomic {
        manifestLocked = 0; link[0].updating = 0;
        if
        :: makeLink(0); link[0].listed = 1; link[0].promise = WINDOW; deleted = 0; undo = 0
        :: skip
        fi;
        goto undoRestore
       }

    /* -- DELETE of the blob from a repository, which voids what was promised of it there -- */
    :: atomic {
        if :: l = 0 :: l = 1 fi;
        CAN_LOCK(l) && link[l].exists -> link[l].locked = 1
       };
       atomic {
        link[l].locked = 0;
        if
        :: !link[l].listed -> link[l].exists = 0; blobHint = 1; link[l].promise = 0; link[l].lease = 0;
           if :: l == 0 -> undo = 0 :: else fi
        :: skip  /* 405, or undone */
        fi;
        goto done
       }
    od;
    /* The locks that end with a transaction. */
undoBlob:
    atomic {
        if
        :: fresh -> blobLocked = 0
#ifdef DONOTHING
        :: else
#else
        :: else -> blobShared--
#endif
        fi;
        goto done
    }
undoMount:
    atomic {
#ifndef MOUNTUNLOCKED
        link[0].shared--; blobShared--;
#endif
        goto done
    }
undoPut:
    atomic {
#ifndef PUTUNLOCKED
        link[0].shared--;
#endif
        goto done
    }
undoRestore:
    atomic {
#ifndef RESTOREUNLOCKED
        blobShared--;
#endif
        goto done
    }
done:
    atomic { l = 0; fresh = 0; goto again }
}

/* ---- The collectors ---- */

active proctype LinkCollector() {
    bit l, free, expired;
    do
    :: atomic {
        if :: l = 0 :: l = 1 fi;
        link[l].hint; link[l].hint = 0; link[l].claimed = 1;
#ifdef CHECKFIRST
        free = !link[l].listed;
#endif
#ifdef LEASEFIRST
        expired = (link[l].lease == 0);
#endif
       };
       if
       :: atomic { !link[l].exists; link[l].claimed = 0; l = 0; expired = 0; free = 0 }
       :: atomic {  /* SKIP LOCKED */
           link[l].exists && !CAN_LOCK(l); link[l].claimed = 0; link[l].hint = 1; l = 0; expired = 0; free = 0
          }
       :: atomic {
           link[l].exists && CAN_LOCK(l); link[l].locked = 1;
#ifndef LEASEFIRST
           expired = (link[l].lease == 0)
#endif
          };
          atomic {  /* DELETE … WHERE NOT EXISTS, a new statement: it sees what was committed before the lock was had */
#ifndef CHECKFIRST
            free = !link[l].listed;
#endif
            if
            :: expired && free -> link[l].exists = 0; blobHint = 1
            :: !expired -> link[l].hint = 1
            :: expired && !free
            :: link[l].hint = 1  /* undone */
            fi;
            link[l].locked = 0; link[l].claimed = 0; l = 0; free = 0; expired = 0
          }
       fi
    od
}

active proctype BlobCollector() {
    bit free;
    do
    :: atomic {
        blobHint; blobHint = 0; blobClaimed = 1;
#ifdef CHECKFIRST
        free = !link[0].exists && !link[1].exists
#endif
       };
       if
       :: atomic { !blob; blobClaimed = 0; free = 0 }
       :: atomic { blob && (blobLocked || blobShared > 0); blobClaimed = 0; blobHint = 1; free = 0 }
       :: atomic { blob && !blobLocked && blobShared == 0; blobLocked = 1 };
          atomic {
#ifndef CHECKFIRST
            free = !link[0].exists && !link[1].exists;
#endif
            if
            :: free -> blob = 0
            :: !free
            :: blobHint = 1  /* undone */
            fi;
            blobLocked = 0; blobClaimed = 0; free = 0
          }
       fi
    od
}

init {
    atomic {
        byte n = 0;
        do :: n < CLIENTS -> run Client(); n++ :: else -> n = 0; break od
    }
}
