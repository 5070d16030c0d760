(ns jepsen.quorate.core
  "`lein run test …`: see README.md for the commands."
  (:require [clojure.string :as str]
            [clojure.tools.logging :refer [info]]
            [jepsen.cli :as cli]
            [jepsen.client :as client]
            [jepsen.control :as c]
            [jepsen.db :as db]
            [jepsen.generator :as gen]
            [jepsen.quorate.checker :as checker]
            [jepsen.quorate.client :as quorate-client]
            [jepsen.quorate.db :as quorate-db]
            [jepsen.quorate.fleet :as fleet]
            [jepsen.quorate.nemesis :as nemesis]
            [jepsen.quorate.net :as net]
            [jepsen.quorate.remote :as remote]
            [jepsen.quorate.workload.failover :as failover]
            [jepsen.quorate.workload.membership :as membership]
            [jepsen.quorate.workload.observations :as observations]
            [jepsen.quorate.workload.register :as register]
            [jepsen.quorate.world :as world]
            [jepsen.random :as rand]
            [jepsen.tests :as tests]))

(def workloads {:register register/workload :failover failover/workload :observations observations/workload
                :membership membership/workload})

(def default-nemeses {:register [:partition :kill :pause :provider]
                      :failover [:region :region :region :kill :partition :provider]
                      :observations [:partition :kill :pause]
                      :membership [:membership :membership :kill :partition]})

(defn- names "The names in a list with commas." [list]
  (map keyword (remove str/blank? (str/split (or list "") #","))))

(defn- remembering
  "A client that keeps the newest epoch that it saw, for the register's generator."
  [inner]
  (reify client/Client
    (open! [_ test node] (remembering (client/open! inner test node)))
    (setup! [_ test] (client/setup! inner test))
    (invoke! [_ test op]
      (let [done (client/invoke! inner test op)
            epoch (get-in done [:value :epoch])]
        (when (and (= :ok (:type done)) (= "reg" (get-in done [:value :service])) epoch)
          (swap! (:newest test) max epoch))
        done))
    (teardown! [_ test] (client/teardown! inner test))
    (close! [_ test] (client/close! inner test))
    client/Reusable
    (reusable? [_ _test] true)))

(defn- with-world
  "The DB inside its world: bridge and namespaces where they are needed, witness and regions."
  [inner opts]
  (let [nodes (:nodes opts)
        first-node (first nodes)
        begin! (fn [test]
                 (locking (:world test)
                   (when-not @(:world test)
                     (reset! (:world test)
                             (world/start! {:ip (world/gateway-of test) :dir (str (:pki test) "/named")
                                            :node-of (fn [address]
                                                       (some #(when (= address (net/address test %)) (fleet/number test %)) nodes))})))))]
    (reify
      db/DB
      (setup! [_ test node] (begin! test) (db/setup! inner test node))
      (teardown! [_ test node]
        (db/teardown! inner test node)
        (when (= node first-node)
          (locking (:world test)
            (when-let [world @(:world test)]
              (world/stop! world)
              ;; What was logged and when is for the checkers still.
              (when-not @(:origin world) (reset! (:world test) nil))))))
      db/Kill
      (kill! [_ test node] (db/kill! inner test node))
      (start! [_ test node] (db/start! inner test node))
      db/Pause
      (pause! [_ test node] (db/pause! inner test node))
      (resume! [_ test node] (db/resume! inner test node))
      db/LogFiles
      (log-files [_ test node] (db/log-files inner test node)))))

(defn quorate-test [opts]
  (let [netns? (= "netns" (:remote-kind opts))
        nodes (vec (:nodes opts))
        workload-name (keyword (:workload opts))
        nemeses (or (seq (names (:nemesis opts))) (get default-nemeses workload-name))
        addresses (if netns? (into {} (map-indexed (fn [i node] [node (remote/address (inc i))]) nodes)) {})
        base {:nodes nodes :addresses addresses}
        workload ((get workloads workload-name) (merge opts base))]
    ;; What is drawn is the same with the same seed, as far as the threads ask for it in the same order.
    (info "seed" (:seed opts))
    (alter-var-root #'rand/rng (constantly (rand/thread-local-random (:seed opts))))
    (when netns?
      (remote/up! nodes)
      (when-not (:leave-db-running? opts)
        (.addShutdownHook (Runtime/getRuntime) (Thread. ^Runnable #(remote/down! nodes)))))
    (merge tests/noop-test
           opts
           base
           {:name (str "quorate-" (name workload-name))
            :remote (if netns? remote/netns c/ssh)
            :net (net/nftables)
            :db (with-world (quorate-db/->Quorate) {:nodes nodes})
            :client (remembering (quorate-client/client))
            :nemesis (nemesis/nemesis (distinct nemeses))
            :checker (checker/all)
            :pki (str "/tmp/quorate-jepsen-" (System/currentTimeMillis))
            :world (atom nil)
            :fleet (fleet/fleet nodes)
            :newest (atom 1)
            :nonserializable-keys [:world :fleet :newest]
            :generator (gen/phases
                        (->> (:generator workload)
                             (gen/nemesis (nemesis/schedule (vec nemeses)))
                             (gen/time-limit (:time-limit opts)))
                        (gen/nemesis (nemesis/finish (distinct nemeses)))
                        (gen/sleep 30)
                        (gen/clients (:final-generator workload)))})))

(def options
  [[nil "--workload NAME" "register, failover, observations or membership"
    :default "register" :validate [#(contains? workloads (keyword %)) "no such workload"]]
   [nil "--nemesis NAMES" "Of partition, kill, pause, clock, provider, region, membership; by default what suits the workload"
    :validate [#(every? nemesis/packages (names %)) "no such nemesis"]]
   [nil "--seed NUMBER" "What is drawn begins with this number; a new one by default"
    :default (rem (System/currentTimeMillis) 1000000) :parse-fn parse-long :validate [some? "a number"]]
   [nil "--sabotage RULE" "A rule that quorated breaks on purpose, if built with the feature testing; the run must find it"]
   [nil "--remote-kind KIND" "ssh, or netns for namespaces of this machine" :default "ssh"
    :validate [#{"ssh" "netns"} "ssh or netns"]]
   [nil "--control-address IP" "Where the nodes reach this machine; needed with ssh"]
   [nil "--binaries DIR" "Where quorated and quoratectl are" :default "../target/debug"]])

(defn -main [& args]
  (cli/run! (merge (cli/single-test-cmd {:test-fn quorate-test :opt-spec options}) (cli/serve-cmd)) args))
