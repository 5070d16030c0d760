(ns jepsen.quorate.nemesis.members
  "Members come and go under load: a node is added at a spare site, a voter is removed, a voter loses its disk and is replaced
  at its own site under a new number.

  Each change goes into the history as an operation of a client, because what was acknowledged must last. One with an unknown
  outcome is asked after, never taken for done."
  (:require [clojure.tools.logging :refer [info]]
            [jepsen.control :as c]
            [jepsen.nemesis :as nemesis]
            [jepsen.quorate.ctl :as ctl]
            [jepsen.quorate.db :as db]
            [jepsen.quorate.fleet :as fleet]
            [jepsen.quorate.truths :refer [fault! state! truth!]]
            [jepsen.quorate.world :as world]
            [jepsen.random :as rand]))

(def most "How many voters there are at most." 4)
(def fewest "How many voters there are at least." 3)

(defn- until
  "What `f` returns when that is true; it is asked every second, for so many seconds."
  [seconds f]
  (let [deadline (+ (System/nanoTime) (* seconds 1000000000))]
    (loop []
      (or (f)
          (when (< (System/nanoTime) deadline)
            (Thread/sleep 1000)
            (recur))))))

(defn- members
  "By number: whether it votes, as a confirmed leader sees it; nil without an answer."
  [test]
  (when-let [leader (ctl/leader test (fleet/nodes test))]
    (let [{:keys [exit json]} (ctl/call test [leader] "--timeout" "3s" "member" "list")]
      (when (zero? exit)
        (into {} (for [{:keys [id role]} (:members json)] [id (= "voter" role)]))))))

(defn- change!
  "Asks for a change until it is done, or the members are as it would have left them."
  [test value words done?]
  (until 60
         (fn []
           (let [world @(:world test)
                 answer (do (world/member! world :invoke value)
                            (apply ctl/call test (fleet/nodes test) "--timeout" "30s" "member" words))]
             (world/member! world (ctl/outcome (:exit answer)) value)
             (when-not (zero? (:exit answer))
               (info "member" words "exit" (:exit answer) (:err answer)))
             (or (zero? (:exit answer)) (some-> (members test) done?))))))

(defn- promote! [test number]
  (change! test {:change :promote :node number} ["promote" (str number)] #(get % number)))

(defn- bring! "A spare node becomes a voter." [test]
  (when-let [node (first (rand/shuffle (fleet/spares test)))]
    (c/on-nodes test [node] db/enlist!)
    (let [number (fleet/number test node)]
      (and (change! test {:change :add :node number} ["add" (db/member test node)] #(contains? % number))
           (promote! test number)))))

(defn- take! "A voter becomes none." [test node]
  (let [number (fleet/number test node)]
    (change! test {:change :remove :node number} ["remove" (str number)] #(not (get % number)))))

(defn- retire! "Ends nodes and what they had on their disks; their logs are kept." [test nodes]
  (state! test nodes :dead true)
  (c/on-nodes test nodes db/discharge!))

(defn- replace! [test]
  (let [node (rand/nth (fleet/voters test))
        old (fleet/number test node)]
    (retire! test [node])
    (c/on-nodes test [node] db/enlist!)
    (let [number (fleet/number test node)]
      (change! test {:change :replace :node number :old old} ["replace" (str old) (db/member test node)]
               #(and (get % number) (not (contains? % old))))
      ;; What had an unknown outcome may be half done: the newcomer is a learner, and the old one is gone.
      (when-let [now (members test)]
        (when (and (contains? now number) (not (get now number)) (not (contains? now old)))
          (promote! test number)))
      {:node node :old old :number number})))

(defn- agree!
  "Takes for true what the leader says, and ends the nodes that are no members any more."
  [test]
  (let [now (or (until 90 #(members test)) (throw (IllegalStateException. "in vain: the members are known")))
        gone (filterv #(not (contains? now (fleet/number test %))) (fleet/nodes test))]
    (when (seq gone)
      (retire! test gone))
    (fleet/voters! test (filter #(get now (fleet/number test %)) (fleet/nodes test)))
    (truth! test :electorate {:voters (vec (sort (keep (fn [[number votes?]] (when votes? number)) now)))})
    (sort now)))

(defn- add! [test]
  (when (>= (count (fleet/voters test)) most)
    (take! test (rand/nth (fleet/voters test)))
    (agree! test))
  (bring! test))

(defn- remove! [test]
  (when (or (> (count (fleet/voters test)) fewest) (bring! test))
    (take! test (rand/nth (fleet/voters test)))))

(defrecord Members []
  nemesis/Nemesis
  (setup! [this _test] this)
  (invoke! [_ test op]
    (if (= :member-settle (:f op))
      (assoc op :value (agree! test))
      (do (fault! test (:f op) :start)
          (try
            (let [done (case (:f op) :member-add (add! test) :member-remove (remove! test) :member-replace (replace! test))]
              (assoc op :value [done (agree! test)]))
            (finally (fault! test (:f op) :stop))))))
  (teardown! [_ _test])
  nemesis/Reflection
  (fs [_] #{:member-add :member-remove :member-replace :member-settle}))
