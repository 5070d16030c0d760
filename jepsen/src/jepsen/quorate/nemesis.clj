(ns jepsen.quorate.nemesis
  "The nemeses: partitions (halves, one-way, ring, leader alone), kill, pause, clock, faults of the provider, faults of the
  regions, members. Each writes what it did into the log of truths, which the checkers believe."
  (:require [clojure.set :as set]
            [clojure.tools.logging :refer [info]]
            [jepsen.control :as c]
            [jepsen.db :as db]
            [jepsen.generator :as gen]
            [jepsen.nemesis :as nemesis]
            [jepsen.nemesis.time :as nt]
            [jepsen.net :as jnet]
            [jepsen.quorate.ctl :as ctl]
            [jepsen.quorate.fleet :as fleet]
            [jepsen.quorate.nemesis.members :as members]
            [jepsen.quorate.net :as net]
            [jepsen.quorate.truths :refer [fault! state! truth!]]
            [jepsen.quorate.world :as world]
            [jepsen.random :as rand]
            [quorate.regions :as regions]
            [quorate.witness :as witness]))

;; --- Partitions ------------------------------------------------------------------------------------------------------------

(defn one-way
  "One node does not hear another."
  [nodes]
  (let [[a b] (rand/shuffle nodes)] {a #{b}}))

(defn isolated
  "The nodes that reach no majority, both ways taken together."
  [nodes grudge]
  (let [apart? (fn [a b] (or (contains? (set (get grudge a)) b) (contains? (set (get grudge b)) a)))]
    (filter (fn [a] (<= (count (remove #(apart? a %) nodes)) (quot (count nodes) 2))) nodes)))

(defn grudge [test kind]
  (let [nodes (vec (fleet/voters test))]
    (case kind
      :partition-halves (nemesis/complete-grudge (nemesis/bisect (rand/shuffle nodes)))
      :partition-one-way (one-way nodes)
      :partition-ring (nemesis/majorities-ring nodes)
      :partition-leader-alone (nemesis/complete-grudge
                               (nemesis/split-one (or (ctl/leader test nodes) (rand/nth nodes)) nodes)))))

(def partitions [:partition-halves :partition-one-way :partition-ring :partition-leader-alone])

(defrecord Partitions [cut]
  nemesis/Nemesis
  (setup! [this test] (jnet/heal! (:net test) test) this)
  (invoke! [_ test op]
    (if (= :heal (:f op))
      (let [[kind alone] @cut]
        (state! test alone :isolated false)
        (jnet/heal! (:net test) test)
        (when kind (fault! test kind :stop))
        (reset! cut nil)
        (assoc op :value kind))
      (let [grudge (grudge test (:f op))
            alone (isolated (fleet/voters test) grudge)]
        (fault! test (:f op) :start)
        (jnet/drop-all! test grudge)
        (state! test alone :isolated true)
        (reset! cut [(:f op) alone])
        (assoc op :value grudge))))
  (teardown! [_ test] (jnet/heal! (:net test) test))
  nemesis/Reflection
  (fs [_] (set (conj partitions :heal))))

;; --- Processes -------------------------------------------------------------------------------------------------------------

(defn- victims [test f]
  (let [nodes (fleet/voters test)]
    (case f
      :kill [(rand/nth nodes)]
      :kill-leader [(or (ctl/leader test nodes) (rand/nth nodes))]
      :kill-all nodes
      :pause [(or (when (zero? (rand/long 2)) (ctl/leader test nodes)) (rand/nth nodes))])))

(defrecord Processes [down]
  nemesis/Nemesis
  (setup! [this _test] this)
  (invoke! [_ test op]
    (let [{:keys [db]} test]
      (if (#{:start :resume} (:f op))
        (let [[kind nodes] @down
              paused? (= :pause kind)]
          (when-not paused? (state! test nodes :dead false))
          (c/on-nodes test nodes (fn [test node] (if paused? (db/resume! db test node) (db/start! db test node))))
          (when paused? (state! test nodes :paused false))
          (when kind (fault! test kind :stop))
          (reset! down nil)
          (assoc op :value nodes))
        (let [nodes (victims test (:f op))
              pause? (= :pause (:f op))]
          (fault! test (:f op) :start)
          (c/on-nodes test nodes (fn [test node] (if pause? (db/pause! db test node) (db/kill! db test node))))
          (state! test nodes (if pause? :paused :dead) true)
          (reset! down [(:f op) nodes])
          (assoc op :value nodes)))))
  (teardown! [_ _test])
  nemesis/Reflection
  (fs [_] #{:kill :kill-leader :kill-all :pause :start :resume}))

;; --- Clocks ----------------------------------------------------------------------------------------------------------------

(defrecord Clocks [clock]
  nemesis/Nemesis
  (setup! [_ test] (->Clocks (nemesis/setup! clock test)))
  (invoke! [_ test op]
    (fault! test :clock :start)
    (let [done (nemesis/invoke! clock test op)]
      (fault! test :clock :stop)
      done))
  (teardown! [_ test] (nemesis/teardown! clock test))
  nemesis/Reflection
  (fs [_] #{:reset :bump :strobe :check-offsets}))

(defn clocks
  "Jepsen's own clock nemesis. Namespaces of one machine share its clock: only for remotes that are machines."
  []
  (->Clocks (nt/clock-nemesis)))

;; --- Providers -------------------------------------------------------------------------------------------------------------

(def provider-faults {:provider-delay {:kind :delay :ms 2000} :provider-drop-answer {:kind :drop-answer}
                      :provider-429 {:kind :busy} :provider-500 {:kind :error}})

(defrecord Providers [fault]
  nemesis/Nemesis
  (setup! [this _test] this)
  (invoke! [_ test op]
    (let [{:keys [witness]} @(:world test)]
      (if (= :provider-heal (:f op))
        (do (witness/set-fault! witness {:kind :none})
            (when @fault (fault! test @fault :stop))
            (reset! fault nil))
        (do (fault! test (:f op) :start)
            (witness/set-fault! witness (get provider-faults (:f op)))
            (reset! fault (:f op))))
      op))
  (teardown! [_ test] (witness/set-fault! (:witness @(:world test)) {:kind :none}))
  nemesis/Reflection
  (fs [_] (set (conj (keys provider-faults) :provider-heal))))

;; --- Regions ---------------------------------------------------------------------------------------------------------------

(defn- active [test service]
  (some->> (world/standing @(:world test) service) :values (world/region-of service)))

(defn- region! [test service region dead-for outage? kind]
  (truth! test :region {:service service :region region :dead-for (vec dead-for) :outage outage? :kind kind}))

(defn- flap! [test service region server]
  (dotimes [_ 4]
    (region! test service region (range 1 100) false :region-flaps)
    (regions/set-health! server :closed)
    (Thread/sleep 1200)
    (regions/set-health! server :up)
    (region! test service region [] false :region-flaps)
    (Thread/sleep 1500)))

(defn- cut-off! [test region-port nodes]
  (c/on-nodes test nodes (fn [_ _] (net/cut-port! (:ip @(:world test)) region-port))))

(defrecord Regions [sick]
  nemesis/Nemesis
  (setup! [this _test] this)
  (invoke! [_ test op]
    (let [service "app"
          world @(:world test)]
      (if (= :region-heal (:f op))
        (when-let [[region nodes] @sick]
          (regions/set-health! (get-in world [:regions [service region]]) :up)
          (when (seq nodes) (c/on-nodes test nodes (fn [_ _] (net/mend!))))
          (region! test service region [] false :region-heal)
          (reset! sick nil))
        (when-let [region (active test service)]
          (let [server (get-in world [:regions [service region]])
                nodes (case (:f op)
                        :region-half-reachable [(rand/nth (fleet/voters test))]
                        :region-mostly-unreachable (take (inc (quot (count (fleet/voters test)) 2)) (rand/shuffle (fleet/voters test)))
                        [])]
            (reset! sick [region nodes])
            (case (:f op)
              :region-dies (do (region! test service region (range 1 100) true (:f op)) (regions/set-health! server :closed))
              :region-hangs (do (region! test service region (range 1 100) true (:f op)) (regions/set-health! server :hang))
              :region-flaps (flap! test service region server)
              (:region-half-reachable :region-mostly-unreachable)
              (do (region! test service region (map #(fleet/number test %) nodes) (= :region-mostly-unreachable (:f op)) (:f op))
                  (cut-off! test (:port server) nodes))))))
      (assoc op :value @sick)))
  (teardown! [_ _test])
  nemesis/Reflection
  (fs [_] #{:region-dies :region-hangs :region-flaps :region-half-reachable :region-mostly-unreachable :region-heal}))

;; --- Schedules -------------------------------------------------------------------------------------------------------------

(def packages
  "By name: the nemesis, what begins and what ends its faults."
  {:partition {:nemesis #(->Partitions (atom nil)) :begin partitions :end :heal}
   :kill {:nemesis #(->Processes (atom nil)) :begin [:kill :kill-leader :kill-all] :end :start}
   :pause {:nemesis #(->Processes (atom nil)) :begin [:pause] :end :resume}
   :clock {:nemesis clocks :begin [:bump] :end :reset}
   :provider {:nemesis #(->Providers (atom nil)) :begin (vec (keys provider-faults)) :end :provider-heal}
   :region {:nemesis #(->Regions (atom nil))
            :begin [:region-dies :region-hangs :region-flaps :region-half-reachable :region-mostly-unreachable]
            :end :region-heal}
   :membership {:nemesis members/->Members :begin [:member-add :member-remove :member-replace] :end :member-settle}})

(defn- op-of [f]
  (if (= :bump f)
    (fn [test _] {:type :info :f :bump :value {(rand/nth (fleet/voters test)) (* 1000 (- (rand/long 480) 240))}})
    {:type :info :f f}))

(defn schedule
  "Begins a fault of a chosen package, holds it, ends it, rests."
  [names]
  (mapcat (fn [name]
            (let [{:keys [begin end]} (get packages name)
                  hold (if (= :region name) 15 5)]
              [(gen/sleep (+ 7 (rand/long 5))) (op-of (rand/nth begin)) (gen/sleep hold) {:type :info :f end}]))
          (repeatedly #(rand/nth names))))

(defn finish "Ends whatever may be under way." [names]
  (map (fn [name] {:type :info :f (:end (get packages name))}) names))

(defn nemesis [names]
  (info "nemeses:" names)
  ;; :kill and :pause are one nemesis.
  (let [distinct-names (if (set/subset? #{:kill :pause} (set names)) (remove #{:pause} names) names)]
    (nemesis/compose (mapv #((:nemesis (get packages %))) distinct-names))))
