/* Two manifests of one repository, an image (0) and an index that lists it (1), and a tag that names either: pushes in any
   order (indexes may be sparse), HEAD, tags that move, deletions, undelete, and the collector in a repository whose rule
   deletes manifests without a name as soon as it may. What a manifest lists besides is the subject of Links.pml, which also
   says how to read this. */

/* The second client does nothing but push one of them by its digest, over and over. */
#ifndef PUSHES
#define PUSHES IMAGE
#endif
#define WINDOW 1  /* how long an answer is good for */
#define LEASE  1  /* how long a pushed manifest is kept: not less than the window */
#define IMAGE 0
#define INDEX 1
#define NONE  2

typedef Manifest {
    bit exists, keep, promise;          /* the row; left of keep_until, and of what clients were told */
    byte shared; bit updating, locked;  /* held: KEY SHARE, how often; NO KEY UPDATE; UPDATE, or an insertion */
    bit hint, claimed                   /* a hint that no collector has; one that a collector has */
}
Manifest manifest[2];

mtype = { absent, sparse, linked };
mtype edge = absent;          /* the index's edge to the image: without a row to point at, or with it */
bit edgeLocked, tagLocked;
byte tag = NONE;
byte looked;                  /* transactions that have looked for an index's child in vain and have not ended */

#define CAN_SHARE(m)  (!manifest[m].locked)
#define CAN_UPDATE(m) (!manifest[m].locked && !manifest[m].updating)
#define CAN_LOCK(m)   (!manifest[m].locked && !manifest[m].updating && manifest[m].shared == 0)
#define NAMED(m)      (tag == m || (m == IMAGE && edge == linked))
#define TAGGED(m)     (tag == m || (m == IMAGE && edge == linked && tag == INDEX))

/* ---- What must always hold ---- */

#define TAG        (tag == NONE || manifest[tag].exists)
#define EDGE       ((edge == absent) == !manifest[INDEX].exists && (edge != linked || manifest[IMAGE].exists))
#define PROMISE(m) (!manifest[m].promise || manifest[m].exists)
#define KNOWN(m)   (!manifest[m].exists || NAMED(m) || manifest[m].hint || manifest[m].claimed)

active proctype Invariants() {
    atomic {
        !(TAG && EDGE && PROMISE(0) && PROMISE(1) && KNOWN(0) && KNOWN(1));
        assert(TAG); assert(EDGE); assert(PROMISE(0) && PROMISE(1)); assert(KNOWN(0) && KNOWN(1))
    }
}

active proctype Clock() {
    do
    :: d_step {
        /* No transaction lasts for a lease: it ends while a child that it did not see is still kept. */
        looked == 0 && (manifest[0].keep || manifest[1].keep || manifest[0].promise || manifest[1].promise);
        manifest[0].keep = 0; manifest[1].keep = 0; manifest[0].promise = 0; manifest[1].promise = 0
       }
    od
}

/* ---- Transactions: what they hold, and how they begin and end ---- */

typedef Held { bit shared[2], updating[2], locked[2], tag, edge, looked }

inline letAllGo() {
    d_step {
        manifest[0].shared = manifest[0].shared - held.shared[0]; manifest[1].shared = manifest[1].shared - held.shared[1];
        if :: held.updating[0] -> manifest[0].updating = 0 :: else fi;
        if :: held.updating[1] -> manifest[1].updating = 0 :: else fi;
        if :: held.locked[0] -> manifest[0].locked = 0 :: else fi;
        if :: held.locked[1] -> manifest[1].locked = 0 :: else fi;
        if :: held.tag -> tagLocked = 0 :: else fi;
        if :: held.edge -> edgeLocked = 0 :: else fi;
        looked = looked - held.looked; held.looked = 0;
        held.shared[0] = 0; held.shared[1] = 0; held.updating[0] = 0; held.updating[1] = 0; held.locked[0] = 0; held.locked[1] = 0;
        held.tag = 0; held.edge = 0
    }
}

/* A row that this transaction shares with nobody else may be updated by it. */
inline takeUpdate(m) {
    if
    :: held.locked[m] || held.updating[m]
    :: atomic { !held.locked[m] && !held.updating[m] && CAN_UPDATE(m) -> manifest[m].updating = 1; held.updating[m] = 1 }
    :: goto end
    fi
}

inline takeTag() {
    if
    :: held.tag
    :: atomic { !held.tag && !tagLocked -> tagLocked = 1; held.tag = 1 }
    :: goto end
    fi
}

inline takeEdge() {
    if
    :: held.edge
    :: atomic { !held.edge && !edgeLocked -> edgeLocked = 1; held.edge = 1 }
    :: goto end
    fi
}

/* INSERT INTO manifest … ON CONFLICT DO NOTHING, and KEY SHARE of what was there. */
inline takeNew(m) {
    if
    :: atomic { !manifest[m].locked && !manifest[m].exists -> manifest[m].locked = 1; held.locked[m] = 1 }
    :: atomic { !manifest[m].locked && manifest[m].exists && !held.shared[m] -> manifest[m].shared++; held.shared[m] = 1 }
    :: held.shared[m]
    :: goto end
    fi
}

/* The image that the index lists, locked against collection. If it is not there, the index is sparse. */
inline takeChild() {
    if
    :: held.locked[IMAGE] || held.shared[IMAGE] -> child = 1
#ifdef CHILDUNLOCKED
    :: !held.locked[IMAGE] && !held.shared[IMAGE] -> child = manifest[IMAGE].exists
#else
    :: atomic {
        !held.locked[IMAGE] && !held.shared[IMAGE] && CAN_SHARE(IMAGE) && manifest[IMAGE].exists;
        manifest[IMAGE].shared++; held.shared[IMAGE] = 1; child = 1
       }
    :: atomic {
        !held.locked[IMAGE] && !held.shared[IMAGE] && !manifest[IMAGE].exists; child = 0; held.looked = 1; looked++
       }
#endif
    :: goto end
    fi
}

/* An index that listed the image before it was here, as far as that was committed. */
inline adopt() {
    if
    :: edge == sparse -> takeEdge(); adopts = (edge == sparse)
    :: edge != sparse
    fi
}

/* What is to be put back: there already, and locked; or kept, to be made anew; or neither. What is kept of the deleted is not
   modelled: it may be there or not. */
inline takeKept(n) {
    if
    :: atomic { CAN_SHARE(n) && manifest[n].exists -> manifest[n].shared++; held.shared[n] = 1; restores = 0 }
    :: atomic { !manifest[n].exists -> restores = 1 }
    :: atomic { !manifest[n].exists -> restores = 0 }
    :: goto end
    fi
}

/* A tag or an index let go of it. */
inline letGo(m, left) {
    if :: left -> manifest[m].keep = 1 :: else fi;
#ifndef LOSTHINT
    manifest[m].hint = 1
#endif
}

inline store(m) { manifest[m].exists = 1; manifest[m].keep = 1 }

/* Whatever is going to name it: if nothing does, a collector has to look. */
inline restore(m) {
    store(m);
#ifndef RESTORELEAK
    manifest[m].hint = 1
#endif
}

/* ---- Clients ---- */

proctype Client(bit pushesOnly) {
    Held held;
    byte m, old = NONE;
    bit tagged, adopts, child, restores;
again:
    do
    /* -- PUT of either, with the tag or without -- */
    :: atomic {
        if :: pushesOnly -> m = PUSHES :: !pushesOnly -> m = IMAGE :: !pushesOnly -> m = INDEX fi;
        if :: tagged = 0 :: !pushesOnly -> tagged = 1 fi
       };
       if
       :: tagged -> takeTag(); old = tag
       :: !tagged
       fi;
       if
       :: m == INDEX -> takeChild()
       :: m == IMAGE
       fi;
       takeNew(m);
       if
       :: held.locked[m] && m == IMAGE -> adopt()
       :: !held.locked[m] -> takeUpdate(m)
       :: held.locked[m] && m == INDEX
       fi;
       if
       :: old != NONE && old != m -> takeUpdate(old)
       :: old == NONE || old == m
       fi;
       atomic {
        if
        :: skip;
           if
           :: held.locked[m] && m == INDEX -> edge = (child -> linked : sparse)
           :: adopts && edge == sparse -> edge = linked
           :: else
           fi;
           store(m);
           if
           :: tagged -> tag = m;
              if :: old != NONE && old != m -> letGo(old, WINDOW) :: else fi
           :: else -> manifest[m].hint = 1
           fi;
           manifest[m].promise = 1
        :: skip  /* undone */
        fi;
        goto end
       }

    /* -- HEAD by digest, answered from a snapshot if that is promise enough -- */
    :: atomic {
        !pushesOnly;
        if :: m = IMAGE :: m = INDEX fi;
        manifest[m].exists;
        if
        :: manifest[m].keep >= WINDOW || TAGGED(m) -> manifest[m].promise = 1; goto end
        :: else
        fi
       };
#ifdef NOEXTEND
       atomic { if :: manifest[m].exists -> manifest[m].promise = 1 :: else fi; goto end };
#endif
       takeUpdate(m);
       atomic {
        if
        :: manifest[m].exists -> manifest[m].keep = 1; manifest[m].hint = 1; manifest[m].promise = 1
        :: skip
        fi;
        goto end
       }

    /* -- DELETE of the tag -- */
    :: !pushesOnly && tag != NONE; takeTag(); old = tag;
       if :: old != NONE -> takeUpdate(old) :: old == NONE -> goto end fi;
       atomic {
        if
        :: tag = NONE;
#ifdef NOGRACE
           letGo(old, 0)
#else
           letGo(old, WINDOW)
#endif
        :: skip
        fi;
        goto end
       }

    /* -- DELETE of either, with its tags; an index that lists it stays, and is sparse -- */
    :: atomic { !pushesOnly; if :: m = IMAGE :: m = INDEX fi; manifest[m].exists };
       if :: tag == m -> takeTag() :: tag != m fi;
       if
       :: atomic { CAN_LOCK(m) && manifest[m].exists -> manifest[m].locked = 1; held.locked[m] = 1 }
       :: goto end
       fi;
       if :: tag == m -> takeTag() :: tag != m fi;
       if
       :: m == IMAGE && edge == absent
       :: (m == IMAGE && edge != absent) || m == INDEX -> takeEdge()
       fi;
       if
       :: m == INDEX && edge == linked -> takeUpdate(IMAGE); child = 1
       :: !(m == INDEX && edge == linked)
       fi;
       atomic {
        if
        :: if
           :: tag == m -> tag = NONE
           :: else
           fi;
           if
           :: m == INDEX -> edge = absent;
              if :: child -> letGo(IMAGE, WINDOW) :: else fi
           :: m == IMAGE && edge == linked -> edge = sparse
           :: else
           fi;
           manifest[m].exists = 0; manifest[m].keep = 0;
           manifest[m].promise = 0
        :: skip
        fi;
        goto end
       }

    /* -- Undelete of the tag, with what it named and what that lists -- */
    :: atomic { !pushesOnly && tag == NONE; if :: m = IMAGE :: m = INDEX fi };
       takeTag();
       if :: tag == NONE :: tag != NONE -> goto end fi;
       takeKept(m);
       if
       :: restores && m == INDEX -> takeKept(IMAGE);
          if :: restores -> takeNew(IMAGE); adopt() :: !restores fi;
          takeChild(); takeNew(INDEX)
       :: restores && m == IMAGE -> takeNew(IMAGE); adopt()
       :: !restores && held.shared[m]
       :: !restores && !held.shared[m] -> goto end  /* nothing is kept of it */
       fi;
       atomic {
        if
        :: if :: held.locked[IMAGE] -> restore(IMAGE) :: else fi;
           if
           :: held.locked[INDEX] -> restore(INDEX);
              edge = (child -> linked : sparse)
           :: adopts && edge == sparse -> edge = linked
           :: else
           fi;
           tag = m; manifest[m].promise = 1
        :: skip
        fi;
        goto end
       }
    od;
end:
    atomic { letAllGo(); m = 0; old = NONE; tagged = 0; adopts = 0; child = 0; restores = 0; goto again }
}

/* ---- The collector, of both kinds of hints: what is named, promised or locked stays ---- */

active proctype Collector() {
    Held held;
    byte m;
    bit needed, adopts, expired, undone;
again:
    do
    :: atomic {
        if :: m = IMAGE :: m = INDEX fi;
        manifest[m].hint -> manifest[m].hint = 0; manifest[m].claimed = 1; undone = 1;
#ifdef CHECKFIRST
        needed = NAMED(m)
#endif
       };
       if
       :: atomic { !manifest[m].exists; undone = 0; goto end }
       :: atomic { manifest[m].exists && !CAN_LOCK(m); goto end }  /* SKIP LOCKED: the hint is for later */
       :: atomic {
           manifest[m].exists && CAN_LOCK(m); manifest[m].locked = 1; held.locked[m] = 1;
#ifdef IGNOREKEEP
           expired = 1
#else
           expired = !manifest[m].keep
#endif
          }
       fi;
       /* New statements: they see what was committed before the lock was had. */
#ifndef SPARSERACE
       if :: m == IMAGE -> adopt() :: m == INDEX fi;
#endif
#ifndef CHECKFIRST
       needed = NAMED(m) || adopts;
#endif
       if
       :: needed -> atomic {
           if :: adopts && edge == sparse -> edge = linked :: else fi;
           undone = 0; goto end
          }
       :: !needed && !expired -> goto end
       :: !needed && expired
       fi;
       if
       :: m == INDEX -> takeEdge();
          if
          :: edge == linked && !manifest[IMAGE].keep -> takeUpdate(IMAGE)
          :: edge != linked || manifest[IMAGE].keep
          fi
       :: m == IMAGE
       fi;
       atomic {
        /* What nobody deleted on purpose is only collected when no index lists it. */
        assert(m != IMAGE || !manifest[INDEX].exists);
        if
        :: m == INDEX && edge == linked -> letGo(IMAGE, 0); edge = absent
        :: m == INDEX && edge != linked -> edge = absent
        :: else
        fi;
        manifest[m].exists = 0; manifest[m].keep = 0;
        undone = 0; goto end
       }
    od;
end:
    atomic {
        if :: undone -> manifest[m].hint = 1 :: else fi;
        manifest[m].claimed = 0; letAllGo(); m = 0; needed = 0; adopts = 0; expired = 0; undone = 0; goto again
    }
}

init {
    atomic {
        run Client(0);
        run Client(1)
    }
}
